# SPDX-License-Identifier: Apache-2.0
"""`bpfctl symbols`: the store of unstripped binaries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from bpfctl import symbols
    from bpfctl.symbols.store import Entry as StoreEntry

LEVELS = ("nothing", "exports", "functions", "lines")
"""Words for `bpfctl.symbols.elf.Level`."""


@click.group(
    cls=LazyGroup,
    entries={
        "resolve": Entry("symbols_resolve", "Addresses of a target as functions and lines."),
        "add": Entry("symbols", "Use unstripped binaries of this workstation.", "add"),
        "list": Entry("symbols", "Binaries that were added.", "list_files"),
        "remove": Entry("symbols", "Forget binaries that were added.", "remove"),
    },
)
def command() -> None:
    """Functions, files and lines of addresses.

    A binary is known by its build id: what is stripped on the target is shown with the
    functions, lines and inlined functions of the unstripped one that was added here.
    """


@click.command()
@click.argument("paths", metavar="DIR|FILE...", nargs=-1, required=True, type=Path)
@common_options()
@pass_invocation
def add(invocation: Invocation, paths: tuple[Path, ...]) -> None:
    """Use unstripped binaries of this workstation.

    Of a folder all ELF files below it: programs, libraries, .debug files, a vmlinux, trees
    as /usr/lib/debug/.build-id. Nothing is copied; what is built anew there later is found.
    """
    from bpfctl.cli.progress import shown
    from bpfctl.errors import NotFound
    from bpfctl.symbols.store import Store

    store = Store()
    found: list[StoreEntry] = []
    for path in paths:
        if not path.exists():
            raise NotFound("file or folder", str(path))
        with shown() as progress:
            found += store.add(path, progress)
    if invocation.format != "table":
        invocation.output.rows(map(row, found))
        return
    lines = sum(each.level == 3 for each in found)
    invocation.say(f"{len(found)} files, {lines} of them with lines")
    for each in found:
        if each.split:
            invocation.warn(f"{each.path}: {SPLIT}")
        elif not each.build_id:
            invocation.warn(
                f"{each.path}: has no build id and is found by .gnu_debuglink alone"
            )


SPLIT = (
    "its debug information stands in .dwo files, which are not read: functions are shown,"
    " lines only in part (build without -gsplit-dwarf)"
)


@click.command("list")
@common_options()
@pass_invocation
def list_files(invocation: Invocation) -> None:
    """Binaries that were added, with what they tell: lines, functions, exports."""
    from bpfctl.symbols.store import Store

    columns = ["build_id", "machine", "level", "size", "path"]
    if invocation.format != "table":
        columns += ["root", "there", "only_debug", "split"]
    rows = map(row, Store().entries())
    invocation.output.rows(({key: each[key] for key in columns} for each in rows), columns)


@click.command()
@click.argument("which", metavar="PATH|BUILD_ID")
@pass_invocation
def remove(invocation: Invocation, which: str) -> None:
    """Forget what was added by a path, or a binary by its build id; files stay."""
    from bpfctl.symbols.store import Store

    gone = Store().remove(which)
    invocation.say(f"forgot {len(gone)} {'file' if len(gone) == 1 else 'files'}")


def row(entry: StoreEntry) -> dict[str, Any]:
    """An entry for output."""
    return {
        "build_id": entry.build_id,
        "machine": entry.machine,
        "level": LEVELS[entry.level],
        "size": entry.size,
        "path": str(entry.path),
        "root": str(entry.root),
        "there": entry.is_there,
        "only_debug": entry.only_debug,
        "split": entry.split,
    }


def frame_rows(found: Iterable[tuple[symbols.Frame, ...]]) -> Iterable[dict[str, Any]]:
    """Frames for output, a row each."""
    for frames in found:
        for frame in frames:
            yield {
                "address": f"{frame.address:#x}",
                "function": frame.name,
                "offset": frame.offset,
                "inlined": frame.inlined,
                "file": frame.file,
                "line": frame.line,
                "module": frame.module,
                "kind": frame.kind,
            }
