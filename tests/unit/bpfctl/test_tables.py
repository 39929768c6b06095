# SPDX-License-Identifier: Apache-2.0
"""Entries of maps as rows: grouped, added up, sorted."""

from __future__ import annotations

from typing import Any

import pytest
from bpfctl.tables import TableError, table

ENTRIES: list[dict[str, Any]] = [
    {"key": {"call": "read", "pid": 1}, "value": {"calls": 3, "since": 50, "who": "a"}},
    {"key": {"call": "write", "pid": 1}, "value": {"calls": 9, "since": 40, "who": "a"}},
    {"key": {"call": "read", "pid": 2}, "value": {"calls": 4, "since": 20, "who": "b"}},
]


def test_all_of_the_key_and_numbers_of_the_value() -> None:
    assert table(ENTRIES) == [
        {"call": "write", "pid": 1, "calls": 9, "since": 40},
        {"call": "read", "pid": 2, "calls": 4, "since": 20},
        {"call": "read", "pid": 1, "calls": 3, "since": 50},
    ]


def test_entries_of_the_same_keys_are_added_and_the_first_time_is_taken() -> None:
    assert table(ENTRIES, ["call"], sort="calls", times=["since"]) == [
        {"call": "write", "entries": 1, "calls": 9, "since": 40},
        {"call": "read", "entries": 2, "calls": 7, "since": 20},
    ]


def test_a_column_of_the_value_may_tell_rows_apart() -> None:
    found = table(ENTRIES, ["who"], sort="entries")
    assert [(row["who"], row["entries"]) for row in found] == [("a", 2), ("b", 1)]


def test_columns_that_are_empty_everywhere_are_left_out() -> None:
    rows = table([{"key": {"call": "x", "comm": ""}, "value": {"calls": 1, "errors": 0}}])
    assert rows == [{"call": "x", "calls": 1}]


def test_plain_keys_and_values() -> None:
    assert table([{"key": 7, "value": 2}, {"key": 8, "value": 5}]) == [
        {"key": 8, "value": 5},
        {"key": 7, "value": 2},
    ]
    assert table([]) == []


@pytest.mark.parametrize("wrong", [{"keys": ["cal"]}, {"sort": "cal"}])
def test_a_column_that_is_not_there(wrong: dict[str, Any]) -> None:
    with pytest.raises(TableError, match=r"no column 'cal'; there are call, pid, calls"):
        table(ENTRIES, **wrong)
