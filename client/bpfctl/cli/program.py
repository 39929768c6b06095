# SPDX-License-Identifier: Apache-2.0
"""`bpfctl program`: every program of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from bpfctl.target import Target

COLUMNS = (
    "id",
    "type",
    "name",
    "tag",
    "bytes_xlated",
    "bytes_jited",
    "map_ids",
    "object",
    "pinned",
    "pids",
)


@click.group(
    cls=LazyGroup,
    entries={
        "list": Entry("program", "Every program of the kernel.", "list_programs"),
        "show": Entry("program", "One program.", "show"),
        "dump": Entry("program_dump", "Its code, with source lines."),
        "graph": Entry("program_graph", "Its control flow, or whom it calls."),
    },
)
def command() -> None:
    """Programs of the kernel, those of others too."""


@click.command("list")
@click.option("--type", "kind", metavar="TYPE", help="Only programs of this type, as in `xdp`.")
@common_options()
@pass_invocation
def list_programs(invocation: Invocation, kind: str | None) -> None:
    """Every program of the kernel, whoever loaded it."""
    from bpfctl.listing import program_row

    rows = invocation.rows_of_each(
        lambda target: map(program_row, target.programs(owners=True))
    )
    rows = [row for row in rows if kind in (None, row["type"])]
    invocation.output.rows(rows, invocation.columns(COLUMNS))


@click.command()
@click.argument("name", metavar="PROGRAM")
@common_options()
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """One program: OBJECT/NAME, a kernel id, the path of a pin, or a name that is unique."""
    from bpfctl.visible import Machine, programs

    def row(target: Target) -> dict[str, Any]:
        return programs.full_row(target.program(name), Machine(target.machine()))

    invocation.records(invocation.each(row))
