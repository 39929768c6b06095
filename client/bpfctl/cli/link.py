# SPDX-License-Identifier: Apache-2.0
"""`bpfctl link`: what is attached where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import links_pb2

COLUMNS = (
    *("id", "type", "prog_id", "program", "point", "state", "link", "lifetime"),
    *("pids", "pinned"),
)


@click.group(
    cls=LazyGroup,
    entries={
        "list": Entry("link", "Every link of the daemon and of the kernel.", "list_links"),
        "show": Entry("link", "One link of the daemon, or of the kernel by its id.", "show"),
        "read": Entry("link", "What an iterator writes.", "read"),
        "update": Entry("link", "Exchange a link's program atomically.", "update"),
    },
)
def command() -> None:
    """Links: programs where they are attached."""


@click.command("list")
@common_options()
@pass_invocation
def list_links(invocation: Invocation) -> None:
    """Every link of the kernel, and those of the daemon that the kernel has no link for."""
    rows = invocation.rows_of_each(_named_rows)
    invocation.output.rows(rows, invocation.columns(COLUMNS))


def _named_rows(target: Target) -> list[dict[str, Any]]:
    rows = link_rows(target.all_links())
    add_names(rows, {each.id: each.name for each in target.programs()})
    return rows


def link_rows(answer: links_pb2.ListLinksResponse) -> list[dict[str, Any]]:
    """A row for each kernel link, with what the daemon knows of it, then the rest."""
    from bpfctl.listing import link_row, own_link_row

    own = {link.name: own_link_row(link) for link in answer.links}
    chains = _chains(answer)
    rows = []
    seen = set()
    for kernel_link in answer.kernel_links:
        row = link_row(kernel_link)
        members = chains.get(kernel_link.id, [])
        seen.update(members)
        rows += [_member(row, own[name]) for name in members]
        if not members and kernel_link.link in own:
            seen.add(kernel_link.link)
            row |= _ours(own[kernel_link.link])
        if not members:
            rows.append(row)
    for name, entry in own.items():
        if name not in seen:
            rows.append(
                {
                    "id": None,
                    "type": entry["method"] or None,
                    "prog_id": entry["prog_id"],
                    "link": name,
                    **_ours(entry),
                }
            )
    return rows


def _chains(answer: links_pb2.ListLinksResponse) -> dict[int, list[str]]:
    """Links of the daemon that share a kernel link, by its id: XDP programs, first to run
    first."""
    members = [link for link in answer.links if link.point.xdp.priority]
    chains: dict[int, list[str]] = {}
    for link in sorted(members, key=lambda each: each.point.xdp.priority):
        for number in link.link_ids:
            chains.setdefault(number, []).append(link.name)
    return chains


def _member(row: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """A row of a chain: the kernel knows the composed program alone."""
    programs = {"prog_id": entry["prog_id"], "composed_prog_id": row["prog_id"]}
    # The daemon's pin of a link: OBJECT/links/LINK, where bpffs takes neither '/' nor '.'.
    file = re.sub(r"[^A-Za-z0-9_-]", lambda match: f"={ord(match[0]):02X}", entry["name"])
    end = f"/{entry['object']}/links/{file}"
    pins = [path for path in row.get("pinned", ()) if path.endswith(end)]
    found = row | programs | {"link": entry["name"]} | _ours(entry)
    if "pinned" in row:
        found["pinned"] = pins
    return found


def add_names(rows: list[dict[str, Any]], names: dict[int, str]) -> None:
    """Names of the programs of others' links, by their ids."""
    for row in rows:
        if not row.get("program") and (name := names.get(row["prog_id"])):
            row["program"] = name


def _ours(row: dict[str, Any]) -> dict[str, Any]:
    names = ("object", "program", "point", "method", "lifetime", "attached_at")
    return {name: row[name] for name in names}


@click.command()
@click.argument("name", metavar="LINK")
@common_options()
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """One link: its name in the daemon, or a kernel id."""
    invocation.records(invocation.each(lambda target: _find(target, name)))


def _find(target: Target, name: str) -> dict[str, Any]:
    """The row of one link. Raises NotFound."""
    from bpfctl.errors import NotFound

    rows = _named_rows(target)
    for row in rows:
        if name in (str(row["id"]), row.get("link")):
            return row
    import difflib

    near = difflib.get_close_matches(name, [row["link"] for row in rows if row.get("link")], 3)
    raise NotFound("link", name, near, "`bpfctl link list` shows all")


@click.command()
@click.argument("name", metavar="LINK")
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    default=64 << 20,
    show_default=True,
    help="Fail behind so much.",
)
@common_options()
@pass_invocation
def read(invocation: Invocation, name: str, max_bytes: int) -> None:
    """What an iterator writes in one run over everything.

    LINK is its name in the daemon, or the kernel id of any link to an iterator.
    """
    from bpfctl.cli.show_iterators import show_iterator

    link = int(name) if name.isdecimal() else name
    with invocation.connect() as target:
        show_iterator(invocation, name, target.read_link(link, max_bytes=max_bytes))


@click.command()
@click.argument("name", metavar="LINK")
@click.argument("program", metavar="PROGRAM")
@common_options()
@pass_invocation
def update(invocation: Invocation, name: str, program: str) -> None:
    """Put another program in place of a link's, with no moment without one.

    PROGRAM is OBJECT/NAME, a kernel id, the path of a pin, or a name that is unique.
    """
    from bpfd.v1 import links_pb2

    with invocation.connect() as target:
        answer = target.update_link(name, program)
    atomic = answer.method == links_pb2.UPDATE_METHOD_ATOMIC
    row = {
        "link": answer.link.name,
        "prog_id": answer.link.program_id,
        "old_prog_id": answer.old_program_id,
        "atomic": atomic,
    }
    if invocation.format == "table":
        how = "atomically" if atomic else "with a moment in which both ran"
        click.echo(f"{name}: program {row['old_prog_id']} became {row['prog_id']} {how}")
    else:
        invocation.output.record(row)
