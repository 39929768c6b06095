# SPDX-License-Identifier: Apache-2.0
"""The maps of an object, as `bpfctl run` shows them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from bpfctl.listing import map_type

if TYPE_CHECKING:
    from bpfctl.cli.invocation import Invocation
    from bpfctl.objects import LoadedObject
    from bpfctl.output import RowStream

_ROWS = 50
"""Entries of one map in a table."""

RINGS = ("ringbuf", "perf_event_array")

_HIDDEN_SECTIONS = (".rodata", ".kconfig", ".rodata.str", ".data.rel.ro")
_WITHOUT_ENTRIES = (
    *RINGS,
    "user_ringbuf",
    "prog_array",
    "cgroup_array",
    "xskmap",
    "sockmap",
    "sockhash",
    "stack_trace",
    "bloom_filter",
    "struct_ops",
    "arena",
    "array_of_maps",
    "hash_of_maps",
    # Reading takes the values out.
    "queue",
    "stack",
    "reuseport_sockarray",
    # Nobody lists the files that have a value.
    "inode_storage",
)


def show_maps(
    invocation: Invocation, loaded: LoadedObject, stream: RowStream | None = None
) -> None:
    """Entries of every map that programs and people count in, into `stream` where other
    rows of the command go. In a table, entries of arrays that are all zero are left out."""
    for name, entry in loaded.maps.items():
        kind = map_type(entry.type)
        if kind in _WITHOUT_ENTRIES or name.startswith(_HIDDEN_SECTIONS):
            continue
        if stream is not None:
            for row in loaded.map(name).rows():
                stream.write({"map": name, **row})
        elif invocation.format == "table":
            _show_table(invocation, loaded, name, str(kind))
        else:
            invocation.output.rows({"map": name, **row} for row in loaded.map(name).rows())
    sys.stdout.flush()


def _show_table(invocation: Invocation, loaded: LoadedObject, name: str, kind: str) -> None:
    from bpfctl.cli.map import table_rows

    entry = loaded.map(name)
    rows: Iterator[dict[str, Any]] = entry.rows()
    if "array" in kind:
        rows = (row for row in rows if _says_something(row["value"]))
    shown = list(islice(rows, _ROWS + 1))
    if not shown:
        return
    sys.stdout.write(f"\nmap {name} ({kind})\n")
    invocation.output.rows(table_rows(entry, shown[:_ROWS]))
    if len(shown) > _ROWS:
        sys.stdout.write(f"... the first {_ROWS} entries\n")


def _says_something(value: Any) -> bool:
    """Whether anything of a value is not zero, empty or the zero address."""
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    if isinstance(value, list):
        return any(map(_says_something, value))
    return value not in (0, "", None, False, "0.0.0.0", "::", "0x0")
