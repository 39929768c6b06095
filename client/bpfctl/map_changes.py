# SPDX-License-Identifier: Apache-2.0
"""What a program changed in its maps: their entries before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bpfctl.errors import NotFound
from bpfctl.listing import map_type
from bpfctl.output import plain

if TYPE_CHECKING:
    from bpfctl.maps import Map
    from bpfctl.target import Target

_COUNTING = ("hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash",
             "lpm_trie")  # fmt: skip
"""Maps that programs count and remember in, and whose entries can be listed."""

MAX_ENTRIES = 65536
"""Entries of a map that are compared at most; in larger ones none is."""

Entries = dict[str, dict[str, Any]]
"""Entries of a map by their key as JSON."""


@dataclass(frozen=True)
class Change:
    """An entry that came (before None), went (after None), or is another."""

    map: str
    key: Any
    before: Any
    after: Any


@dataclass
class Watched:
    """The maps of one program."""

    maps: dict[str, Map] = field(default_factory=dict)
    """By name, with the id behind it where two have the same."""
    skipped: list[str] = field(default_factory=list)
    """Maps that are too large."""
    _before: dict[str, Entries] = field(default_factory=dict)

    def changes(self) -> Iterator[Change]:
        """What is different from when this was made."""
        for name, entry in self.maps.items():
            yield from differences(name, self._before[name], _entries(entry))


def watch(target: Target, map_ids: Sequence[int]) -> Watched:
    """Remembers the entries of maps; `Watched.changes` says later what became of them."""
    found = Watched()
    for number in map_ids:
        entry = target.map(number)
        try:
            info = entry.info
        except NotFound:
            continue
        if map_type(info.type) not in _COUNTING or info.frozen:
            continue
        name = info.member or info.name or str(number)
        name = f"{name} ({number})" if name in found.maps else name
        entries = _entries(entry) if _comparable(info.max_entries, entry) else None
        if entries is None:
            found.skipped.append(name)
            continue
        found.maps[name], found._before[name] = entry, entries
    return found


def _comparable(max_entries: int, entry: Map) -> bool:
    """Whether a map has few entries; large hash maps mostly have."""
    if max_entries <= MAX_ENTRIES:
        return True
    if "array" in str(map_type(entry.info.type)):
        return False
    count = 0
    for chunk in entry.chunks():
        count += chunk.count
        if count > MAX_ENTRIES:
            return False
    return True


def _entries(entry: Map) -> Entries:
    return {json.dumps(row["key"], default=plain): row for row in entry.rows()}


def differences(name: str, before: Entries, after: Entries) -> Iterator[Change]:
    """Entries that are not the same, by key."""
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        row = new or old
        assert row is not None
        yield Change(
            name,
            row["key"],
            old["value"] if old is not None else None,
            new["value"] if new is not None else None,
        )
