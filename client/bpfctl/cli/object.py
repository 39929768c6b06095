# SPDX-License-Identifier: Apache-2.0
"""`bpfctl object`: what the daemon holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from bpfd.v1 import objects_pb2


@click.group(
    cls=LazyGroup,
    entries={
        "list": Entry("object", "Every object.", "list_objects"),
        "show": Entry("object", "One object with its programs, maps and links.", "show"),
    },
)
def command() -> None:
    """Objects: what was loaded together, from one file."""


@click.command("list")
@common_options()
@pass_invocation
def list_objects(invocation: Invocation) -> None:
    """Every object that the daemon holds."""
    from bpfctl.listing import object_row

    def row(message: objects_pb2.Object) -> dict[str, Any]:
        found = object_row(message)
        if invocation.format == "table":
            for field in ("programs", "maps", "links"):
                found[field] = [entry["name"] for entry in found[field]]
        return found

    rows = invocation.rows_of_each(
        lambda target: [row(held.message) for held in target.objects()]
    )
    columns = ["name", "lifetime", "programs", "maps", "links"]
    invocation.output.rows(rows, invocation.columns(columns))


@click.command()
@click.argument("name")
@common_options()
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """One object with its programs, maps and links."""
    from bpfctl.listing import object_row

    invocation.records(invocation.each(lambda target: object_row(target.object(name).message)))
