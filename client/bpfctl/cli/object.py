# SPDX-License-Identifier: Apache-2.0
"""`bpfctl object`: what the daemon holds."""

from __future__ import annotations

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup


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

    with invocation.connect() as target:
        rows = [object_row(held.message) for held in target.objects()]
    if invocation.format == "table":
        for row in rows:
            for field in ("programs", "maps", "links"):
                row[field] = [entry["name"] for entry in row[field]]
    invocation.output.rows(rows, ["name", "lifetime", "programs", "maps", "links"])


@click.command()
@click.argument("name")
@common_options()
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """One object with its programs, maps and links."""
    from bpfctl.listing import object_row

    with invocation.connect() as target:
        row = object_row(target.object(name).message)
    invocation.output.record(row)
