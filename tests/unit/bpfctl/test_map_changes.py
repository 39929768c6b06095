# SPDX-License-Identifier: Apache-2.0
"""Entries of a map before and after."""

from __future__ import annotations

from bpfctl.map_changes import Change, differences


def entry(key: object, value: object) -> dict[str, object]:
    return {"key": key, "value": value}


def test_entries_that_came_went_and_changed() -> None:
    before = {"1": entry(1, 5), "2": entry(2, 5), "3": entry(3, {"packets": 0})}
    after = {"2": entry(2, 5), "3": entry(3, {"packets": 1}), "4": entry(4, 0)}
    assert list(differences("map", before, after)) == [
        Change("map", 1, 5, None),
        Change("map", 3, {"packets": 0}, {"packets": 1}),
        Change("map", 4, None, 0),
    ]
    assert list(differences("map", after, after)) == []
