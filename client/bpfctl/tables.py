# SPDX-License-Identifier: Apache-2.0
"""Entries of a map as rows of a table: grouped, added up, sorted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

ENTRIES = "entries"
"""The column that says how many entries a row stands for."""


class TableError(ValueError):
    """The map's entries have no such column; says which there are."""


def table(
    entries: Iterable[Mapping[str, Any]],
    keys: Sequence[str] = (),
    *,
    sort: str = "",
    times: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Rows of the entries {"key": ..., "value": ...} of a map.

    A row has the columns `keys` (none: all members of the key) and the numbers of the value;
    those of entries with the same keys are added, but of `times` the first is taken. The
    row with the largest `sort` (none: the first number) stands first. Pure.

    Raises TableError for a column that is not there.
    """
    flat = [
        (_members("key", each["key"]), _members("value", each["value"])) for each in entries
    ]
    if not flat:
        return []
    of_key, of_value = (list(part) for part in flat[0])
    chosen = list(keys) or of_key
    grouped = set(chosen) != set(of_key)
    numbers = [name for name in of_value if name not in chosen and _is_number(flat, name)]
    known = [*of_key, *of_value]
    _check([*chosen], known)
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, value in flat:
        both = {**value, **key}
        identity = tuple(both[name] for name in chosen)
        row = rows.get(identity)
        if row is None:
            row = rows[identity] = {name: both[name] for name in chosen}
            if grouped:
                row[ENTRIES] = 0
            row |= {name: both[name] if name in times else 0 for name in numbers}
        if grouped:
            row[ENTRIES] += 1
        for name in numbers:
            if name in times:
                row[name] = min(row[name], both[name])
            else:
                row[name] += both[name]
    columns = [*chosen, *([ENTRIES] if grouped else []), *numbers]
    if sort:
        _check([sort], columns)
    by = sort or next((name for name in columns if name not in chosen), "")
    found = list(rows.values())
    if by:
        # Rows that are alike stay in an order of their own: by their keys.
        found.sort(key=lambda row: [str(row[name]) for name in chosen])
        found.sort(key=lambda row: row[by], reverse=True)
    empty = [name for name in columns if name != by and not any(row[name] for row in found)]
    return [{name: row[name] for name in columns if name not in empty} for row in found]


def _members(name: str, value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {name: value}


def _is_number(flat: Sequence[tuple[Any, Mapping[str, Any]]], name: str) -> bool:
    return all(type(value[name]) in (int, float) for _, value in flat)


def _check(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise TableError(f"there is no column {name!r}; there are {', '.join(known)}")
