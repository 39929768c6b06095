# SPDX-License-Identifier: Apache-2.0
"""Package runqlat: threads of the test, whose waits the kernel's own books count too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.kernel.histogram_package import HistogramPackage
from tests.kernel.hooks_support import own_cgroup
from tests.kernel.loaded_package import types_are_known

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading tracing programs needs root"),
    pytest.mark.skipif(not types_are_known("runqlat"), reason="needs kernel BTF"),
    pytest.mark.skipif(
        not Path("/proc/self/schedstat").exists(),
        reason="this kernel keeps no waits of threads",
    ),
]

PLAY = """
import os, sys, threading
rounds = int(sys.argv[1])
there, back = os.pipe(), os.pipe()
def echo():
    for _ in range(rounds):
        os.write(back[1], os.read(there[0], 1))
    os.read(there[0], 1)
thread = threading.Thread(target=echo)
thread.start()
def books():
    found = {}
    for tid in os.listdir("/proc/self/task"):
        words = open(f"/proc/self/task/{tid}/schedstat").read().split()
        found[int(tid)] = (int(words[1]), int(words[2]))
    return found
print("ready", flush=True)
sys.stdin.readline()
before = books()
for _ in range(rounds):
    os.write(there[1], b"x")
    os.read(back[0], 1)
after = books()
print(*(f"{tid}:{after[tid][0] - before[tid][0]}:{after[tid][1] - before[tid][1]}"
        for tid in before), flush=True)
sys.stdin.readline()
os.write(there[1], b"x")
thread.join()
"""
"""Two threads that wake each other; what the kernel says of how long and how often each
waited (/proc/PID/task/TID/schedstat, Documentation/scheduler/sched-stats.rst)."""

ROUNDS = 400


@contextmanager
def player(cgroup: str = "") -> Iterator[subprocess.Popen[str]]:
    """The process, ready to play."""
    join = f"open({cgroup + '/cgroup.procs'!r}, 'w').write('0')\n" if cgroup else ""
    words = [sys.executable, "-c", join + PLAY, str(ROUNDS)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.communicate("\n")
        assert child.returncode == 0


def play(child: subprocess.Popen[str]) -> dict[int, tuple[int, int]]:
    """(nanoseconds waited, times run) by thread."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    line = child.stdout.readline()
    assert line, "the process has ended"
    found = {}
    for word in line.split():
        tid, waited, times = map(int, word.split(":"))
        found[tid] = (waited, times)
    return found


def test_counts_what_the_kernel_counts_for_each_thread() -> None:
    with player() as child:
        settings = {"pid": str(child.pid), "by_thread": "true"}
        with closing(HistogramPackage("runqlat", settings)) as package:
            books = play(child)
            found = {each.labels["tid"]: each for each in package.histograms("latencies")}
            assert package.missed() == 0
    assert set(found) == set(books)
    assert len(books) == 2
    for tid, (nanoseconds, times) in books.items():
        # Each round wakes each thread once. Around the time between its two looks at its
        # books the process waits for its orders, and for the reader of what it says.
        assert times >= ROUNDS * 9 // 10
        assert times <= found[tid].count <= times + 20
        assert found[tid].labels["pid"] == child.pid
        # Microseconds, rounded down each time; two clocks that are read at two places.
        microseconds = found[tid].sum
        assert microseconds is not None
        assert microseconds + found[tid].count >= nanoseconds / 1000 * 0.8 - 1000


def test_a_cgroup_of_its_own() -> None:
    """All that is in it and nothing else, told by its id."""
    with own_cgroup() as group:
        number = os.stat(group).st_ino
        with player(group) as child:
            settings = {"cgroup": str(number), "by_cgroup": "true"}
            with closing(HistogramPackage("runqlat", settings)) as package:
                books = play(child)
                (found,) = package.histograms("latencies")
                (whole,) = package.histograms("latencies", "pid")
    times = sum(count for _, count in books.values())
    assert found.labels["cgroup_id"] == number
    assert times <= found.count <= times + 40
    assert whole.labels == {"pid": 0}
    assert whole.slots == found.slots


def test_slots_of_one_width() -> None:
    with player() as child:
        settings = {"pid": str(child.pid), "by_process": "true", "step": "50"}
        with closing(HistogramPackage("runqlat", settings)) as package:
            books = play(child)
            (found,) = package.histograms("latencies")
    times = sum(count for _, count in books.values())
    assert times <= found.count <= times + 40
    assert (found.begin(3), found.end(3)) == (150, 200)
    low = sum(count * found.begin(slot) for slot, count in enumerate(found.slots))
    assert found.sum is not None
    assert low <= found.sum


def test_other_processes_are_left_out() -> None:
    with player() as child:
        settings = {"pid": str(2**31 - 7)}
        with closing(HistogramPackage("runqlat", settings)) as package:
            play(child)
            assert package.histograms("latencies") == []
            assert package.entries("waiting") == 0
