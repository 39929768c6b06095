# SPDX-License-Identifier: Apache-2.0
"""`bpfctl map create`: a map without an object of programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation

if TYPE_CHECKING:
    from bpfctl.target import Target


@click.command()
@click.argument("name", metavar="OBJECT[/MAP]")
@click.option("--type", "kind", metavar="TYPE", help="As in `hash` or `lpm_trie`.")
@click.option("--key", default="", metavar="TYPE", help="u8 to u64, s8 to s64, or bytes [u32].")
@click.option("--value", default="", metavar="TYPE", help="The same for values.")
@click.option(
    "--max-entries",
    type=click.IntRange(1, (1 << 32) - 1),
    help="Entries; bytes of a ring buffer, pages of an arena.",
)
@click.option("--flags", default="", help="Flags of the kernel, as in no_prealloc,mmapable.")
@click.option(
    "--extra", type=int, default=0, help="map_extra: hash functions of a bloom filter."
)
@click.option("--inner", default="", metavar="MAP", help="Maps of maps: one of those in it.")
@click.option(
    "--like", default="", metavar="MAP", help="Type, sizes, flags and BTF of another map."
)
@common_options()
@pass_invocation
def create(
    invocation: Invocation,
    name: str,
    kind: str | None,
    like: str,
    max_entries: int | None,
    flags: str,
    key: str,
    value: str,
    extra: int,
    inner: str,
) -> None:
    """Make a map; it stays, pinned as an object of its own, until `bpfctl unload`.

    With --like it can go into a map of maps that takes such ones.
    """
    from bpfctl.listing import map_row
    from bpfctl.map_create import Definition, flags_of
    from bpfctl.map_create import create as make

    if bool(kind) == bool(like):
        raise click.UsageError("say --type TYPE, or --like MAP")
    if like and (flags or any((key, value, extra, inner))):
        raise click.UsageError("--like takes everything from MAP but --max-entries")
    definition = None
    if kind:
        bits = flags_of(flags)
        definition = Definition(kind, key, value, max_entries, bits, extra, inner)

    def run(target: Target) -> dict[str, Any]:
        made = make(target, name, definition, like=like, max_entries=max_entries)
        if invocation.format == "table":
            invocation.say(f"created {made.name} (id {made.info.id})", target)
        return map_row(made.info)

    rows = invocation.each(run)
    if invocation.format != "table":
        invocation.records(rows)
