# SPDX-License-Identifier: Apache-2.0
"""What happened between two samples, and which of it is shown in which order."""

from __future__ import annotations

from typing import Any, cast

import pytest
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.run_times import (
    Described,
    Directory,
    Interval,
    Load,
    Selection,
    SortKey,
    check_interval,
    interval,
    record,
)

from bpfd.v1 import attach_pb2, common_pb2, links_pb2, programs_pb2

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


class FakeTarget:
    """Programs that can be listed, and how often they were asked for."""

    def __init__(self) -> None:
        self.names = {1: "one", 2: "two"}
        self.listed = self.asked = self.searched = 0

    def programs(self) -> list[common_pb2.KernelProgram]:
        self.listed += 1
        return [common_pb2.KernelProgram(id=n, name=name) for n, name in self.names.items()]

    def program(self, number: int, *, owners: bool) -> common_pb2.KernelProgram:
        self.asked += 1
        if number not in self.names:
            raise NotFound("program", str(number))
        return common_pb2.KernelProgram(id=number, name=self.names[number])

    def machine(self, *, programs: bool) -> links_pb2.ListAttachmentsResponse:
        assert not programs
        self.searched += 1
        point = attach_pb2.AttachPoint(
            raw_tracepoint=attach_pb2.RawTracepoint(name="sys_enter", cookie=7)
        )
        answer = links_pb2.ListAttachmentsResponse()
        answer.attachments.add(program_id=1, point=point, link="mine")
        answer.attachments.add(program_id=1, point=point, detached=True)
        return answer


def test_only_what_is_new_is_asked_for() -> None:
    target, now = FakeTarget(), [100.0]
    directory = Directory(cast("Any", target), lambda: now[0])
    first = directory.look_up([1, 2, 9])
    assert (first[1].name, first[1].links) == ("one", ["mine"])
    assert first[1].places == ["raw_tracepoint:sys_enter,cookie=7"]
    assert first[1].short_places == ["raw_tracepoint:sys_enter"]
    assert first[9].name == ""
    assert (target.asked, target.searched, target.listed) == (3, 1, 0)
    directory.look_up([1, 2])
    assert (target.asked, target.searched) == (3, 1)
    target.names[3] = "three"
    now[0] += 1
    assert directory.look_up([1, 2, 3])[3].name == "three"
    assert (target.asked, target.searched) == (4, 1)
    now[0] += 5
    directory.look_up([1, 2, 3])
    assert target.searched == 2
    now[0] += 20
    directory.look_up([1, 2, 3])
    assert target.searched == 2
    now[0] += 20
    directory.look_up([1, 2, 3])
    assert target.searched == 3


def test_many_new_ones_are_listed_at_once() -> None:
    target = FakeTarget()
    found = Directory(cast("Any", target), lambda: 100.0).look_up(list(range(1, 40)))
    assert (found[2].name, found[39].name) == ("two", "")
    assert (target.asked, target.listed) == (0, 1)


@pytest.mark.parametrize("seconds", [0, 0.05, 3601])
def test_intervals_that_no_daemon_takes(seconds: float) -> None:
    with pytest.raises(InvalidArgument, match="100ms to 1h"):
        check_interval(seconds)
