# SPDX-License-Identifier: Apache-2.0
"""What happened between two samples, and which of it is shown in which order."""

from __future__ import annotations

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.run_times import (
    Described,
    Interval,
    Load,
    Selection,
    SortKey,
    check_interval,
    interval,
    record,
)

from bpfd.v1 import programs_pb2

SECOND = 1_000_000_000


def sample(at: float, *programs: tuple[int, int, int]) -> programs_pb2.ProgramStats:
    """(id, runs, nanoseconds)"""
    message = programs_pb2.ProgramStats(taken_at_ns=round(at * SECOND))
    for number, runs, nanoseconds in programs:
        message.programs.add(id=number, run_count=runs, run_time_ns=nanoseconds)
    return message


def test_differences_are_of_the_targets_own_clock() -> None:
    found = interval(sample(10, (1, 100, 5000)), sample(12, (1, 300, 25_000)))
    assert found is not None
    (load,) = found.loads
    assert (load.runs, load.nanoseconds, load.seconds) == (200, 20_000, 2.0)
    assert load.runs_per_second == 100
    assert load.average_ns == 100
    assert load.cpu_percent == pytest.approx(0.001)


def test_a_share_is_of_one_cpu() -> None:
    """Three CPUs that do nothing else."""
    found = interval(sample(0.5, (1, 0, 0)), sample(1, (1, 10, 3 * SECOND // 2)))
    assert found is not None
    assert found.loads[0].cpu_percent == pytest.approx(300)


def test_a_new_program_counts_from_its_start_and_one_that_went_is_left_out() -> None:
    found = interval(sample(1, (1, 7, 70), (2, 5, 50)), sample(2, (2, 6, 60), (3, 9, 90)))
    assert found is not None
    assert [(load.id, load.runs) for load in found.loads] == [(2, 1), (3, 9)]
    assert (found.total.runs, found.total.nanoseconds) == (10, 100)


def test_no_time_is_no_interval() -> None:
    assert interval(sample(1, (1, 7, 70)), sample(1, (1, 8, 80))) is None


def test_a_program_that_did_not_run_has_no_average() -> None:
    load = Load(1, 1.0, 0, 0)
    assert (load.average_ns, load.cpu_percent, load.runs_per_second) == (0, 0, 0)


LOADS = [
    Load(1, 1.0, 10, 900),
    Load(2, 1.0, 1000, 1000),
    Load(3, 1.0, 2, 800),
    Load(4, 1.0, 0, 0),
]
PROGRAMS = {
    1: Described(1, "xdp", "drop", "firewall"),
    2: Described(2, "tracing", "count", "stats"),
    3: Described(3, "xdp", "answer"),
}


def chosen(selection: Selection) -> list[int]:
    return [load.id for load, _ in selection.rows(Interval(1.0, LOADS), PROGRAMS)]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("cpu", [2, 1, 3, 4]),
        ("runs", [2, 1, 3, 4]),
        ("avg", [3, 1, 2, 4]),
        ("name", [4, 3, 2, 1]),
    ],
)
def test_order(key: SortKey, expected: list[int]) -> None:
    assert chosen(Selection(sort=key)) == expected


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(types=["xdp"]), [1, 3]),
        (Selection(names=["count"]), [2]),
        (Selection(names=["firewall/*", "3"]), [1, 3]),
        (Selection(names=["*o*"]), [2, 1]),
        (Selection(names=["cou"]), []),
        (Selection(idle=False), [2, 1, 3]),
        (Selection(types=["xdp"], names=["a*"]), [3]),
    ],
)
def test_selection(selection: Selection, expected: list[int]) -> None:
    assert chosen(selection) == expected


def test_a_program_that_nobody_knows_any_more_has_a_row() -> None:
    row = record(*Selection().rows(Interval(1.0, [LOADS[3]]), PROGRAMS)[0])
    assert (row["id"], row["name"], row["type"], row["avg_ns"]) == (4, "", "", 0)


@pytest.mark.parametrize("seconds", [0, 0.05, 3601])
def test_intervals_that_no_daemon_takes(seconds: float) -> None:
    with pytest.raises(InvalidArgument, match="100ms to 1h"):
        check_interval(seconds)
