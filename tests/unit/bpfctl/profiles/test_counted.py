# SPDX-License-Identifier: Apache-2.0
"""Sums and stacks that come in turns, and what is said to be missed."""

from __future__ import annotations

from bpfctl.profiles.counted import LATE, STACKS_UNKNOWN, Counted, Key, key_of, missed

ROW = {
    "user": 7,
    "kernel": 0,
    "pid": 42,
    "tid": 0,
    "state": "RUNNING",
    "unused": 0,
    "comm": "burner",
}


def test_a_row_is_a_key() -> None:
    assert key_of(ROW, 3) == Key(42, 0, "burner", "RUNNING", 7, 0, 3)


def test_sums_of_several_turns_are_one() -> None:
    counted = Counted()
    for count, ns in ((3, 10), (4, 20)):
        counted.add(key_of(ROW), count, ns)
    (found,) = counted.sums.values()
    assert (found.count, found.ns, counted.samples) == (7, 30, 7)


def test_a_stack_ends_at_the_first_zero() -> None:
    counted = Counted()
    counted.add_stacks([7, 8], [[30, 20, 10, 0, 0], [5, 4, 3, 2, 1]])
    counted.add_stacks([7], [[1, 1, 1, 1, 1]])
    assert counted.stacks == {7: (30, 20, 10), 8: (5, 4, 3, 2, 1)}


def test_every_sample_is_accounted_for() -> None:
    counted = Counted()
    counted.add(key_of(ROW), 90, 0)
    counted.add_stacks([7], [[1]])
    events = {"ADDED": 100, "SUMS_FULL": 6, "SUMS_BUSY": 1, "TRUNCATED": 0}
    assert missed(counted, events) == {
        "samples: the map was full": 6,
        "samples: the map was locked": 1,
        LATE: 3,
    }


def test_stacks_that_were_not_kept_are_counted_by_samples() -> None:
    counted = Counted()
    counted.add(key_of(ROW), 5, 0)
    counted.add(key_of({**ROW, "user": 0, "kernel": 9}), 2, 0)
    counted.add(key_of({**ROW, "user": 0}), 4, 0)
    events = {"ADDED": 11, "STACKS_FULL": 2}
    assert missed(counted, events) == {"stacks: the map was full": 2, STACKS_UNKNOWN: 7}
    counted.add_stacks([7, 9], [[1], [2]])
    assert counted.unknown() == 0
