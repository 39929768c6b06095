# SPDX-License-Identifier: Apache-2.0
"""Sums become samples with names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bpfctl.profiles.counted import Counted, Key
from bpfctl.profiles.hottest import hottest
from bpfctl.profiles.processes import Processes
from bpfctl.profiles.resolve import CUT, NO_STACK, RUNNABLE, UNREAD, Resolver, profile
from bpfctl.symbols.frame import UNKNOWN, Frame
from bpfctl.symbols.process import Mapping, Process

NOBODY: Any = None


class Symbols:
    """Names an address by its number."""

    def __init__(self) -> None:
        self.asked = 0

    def kernel_stack(self, addresses: Sequence[int]) -> tuple[Frame, ...]:
        self.asked += 1
        names = {1: "bpf_trace_run4", 2: "__traceiter_sched_switch"}
        return tuple(
            Frame(names.get(each, f"k{each}"), "[kernel]", kind="kernel") for each in addresses
        )

    def user_stack(self, process: Process, addresses: Sequence[int]) -> tuple[Frame, ...]:
        self.asked += 1
        return tuple(Frame(f"{process.comm}{each}", "/bin/x") for each in addresses)


def key(user: int = 0, kernel: int = 0, **more: Any) -> Key:
    fields = {"pid": 7, "tid": 0, "comm": "x", "state": "RUNNING", "mappings": 0, **more}
    return Key(user=user, kernel=kernel, **fields)


def resolver(*, off_cpu: bool = False) -> Resolver:
    processes = Processes(NOBODY)
    processes.take(Process(7, "u", (Mapping(0, 99),)))
    return Resolver(Symbols(), processes, off_cpu)


def names(counted: Counted, one: Key, *, off_cpu: bool = False) -> list[str]:
    return [frame.text for frame in resolver(off_cpu=off_cpu).stack(one, counted.stacks)]


STACKS = Counted(stacks={11: (5, 6), 12: (1, 2, 8, 9), 13: tuple(range(1, 128))})


def test_the_kernel_stands_on_top_of_user_space() -> None:
    assert names(STACKS, key(11, 12)) == [
        *("u6", "u5", "k9", "k8"),
        *("__traceiter_sched_switch", "bpf_trace_run4"),
    ]


def test_what_the_tracepoint_adds_is_left_out_off_cpu() -> None:
    found = names(STACKS, key(11, 12, state="RUNNABLE"), off_cpu=True)
    assert found == ["u6", "u5", "k9", "k8", RUNNABLE.text]


def test_what_is_missing_is_said_in_the_stack() -> None:
    assert names(STACKS, key()) == [NO_STACK.text]
    assert names(STACKS, key(99)) == [UNREAD.text]
    assert names(STACKS, key(13))[:2] == [CUT.text, "u127"]
    assert names(STACKS, key(11, mappings=-1)) == ["0x6", "0x5"]
    frames = resolver().stack(key(11, mappings=-1), STACKS.stacks)
    assert {frame.module for frame in frames} == {UNKNOWN}


def test_what_is_alike_is_one_sample() -> None:
    counted = Counted(stacks=dict(STACKS.stacks))
    counted.add(key(11), 3, 300)
    counted.add(key(11, pid=7, comm="y"), 2, 200)
    counted.add(key(11, tid=70), 1, 100)
    found = profile(counted, resolver(), per="process", off_cpu=False)
    assert [(each.value, each.comm, each.tid) for each in found] == [
        (3, "x", 0),
        (2, "y", 0),
        (1, "x", 70),
    ]
    times = profile(counted, resolver(), per="comm", off_cpu=True)
    assert [(each.value, each.pid) for each in times] == [(300, 0), (200, 0), (100, 0)]


def test_each_stack_is_looked_up_once() -> None:
    counted = Counted(stacks=dict(STACKS.stacks))
    counted.add(key(11), 3, 0)
    counted.add(key(11, comm="y"), 3, 0)
    found = resolver()
    profile(counted, found, per="process", off_cpu=False)
    profile(counted, found, per="process", off_cpu=False)
    assert isinstance(found.symbols, Symbols)
    assert found.symbols.asked == 1


def test_a_function_that_calls_itself_counts_once() -> None:
    counted = Counted(stacks={1: (5, 6, 5, 5)})
    counted.add(key(1), 4, 0)
    first, second = hottest(profile(counted, resolver(), per="process", off_cpu=False))
    assert (first.name, first.self_value, first.total) == ("u5", 4, 4)
    assert (second.name, second.self_value, second.total) == ("u6", 0, 4)
