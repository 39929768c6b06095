# SPDX-License-Identifier: Apache-2.0
"""Package syscount: system calls made a known number of times."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from tests.kernel.traced_package import Child, Traced, needs_package

pytestmark = needs_package("syscount")

CALLS = """
for n in range(int(sys.argv[1])):
    os.getppid()
for n in range(int(sys.argv[2])):
    try:
        os.fchdir(987654)
    except OSError:
        pass
"""


def traced(**settings: object) -> closing[Traced]:
    return closing(Traced("syscount", settings))


def counts(watch: Traced, call: str) -> list[tuple[Any, Any]]:
    return [(key, value) for key, value in watch.entries("counts") if key["call"] == call]


def test_calls_and_failures_are_counted_by_name() -> None:
    with Child(CALLS, "3000", "200") as process, traced(pid=process.pid) as watch:
        process.go()
        ((key, good),) = counts(watch, "getppid")
        ((_, bad),) = counts(watch, "fchdir")
        ((_, end),) = counts(watch, "exit_group")
        assert watch.package.get("missed", "0") == 0
        assert watch.size("inside_calls") == 0
    assert (key["pid"], key["comm"]) == (0, "")
    assert (good["calls"], good["errors"]) == (3000, 0)
    assert (bad["calls"], bad["errors"]) == (200, 200)
    assert (end["calls"], end["time_ns"]) == (1, 0)
    for each in (good, bad):
        assert 0 < each["longest_ns"] <= each["time_ns"] <= each["longest_ns"] * each["calls"]


def test_only_calls_that_fail() -> None:
    with (
        Child(CALLS, "100", "70") as process,
        traced(pid=process.pid, failed="true") as watch,
    ):
        process.go()
        assert counts(watch, "getppid") == []
        ((_, bad),) = counts(watch, "fchdir")
    assert (bad["calls"], bad["errors"]) == (70, 70)


def test_processes_are_told_apart() -> None:
    with (
        Child(CALLS, "11", "0") as one,
        Child(CALLS, "22", "0") as other,
        traced(by_process="true") as watch,
    ):
        one.go()
        other.go()
        found = {
            key["pid"]: value["calls"]
            for key, value in counts(watch, "getppid")
            if key["pid"] in (one.pid, other.pid)
        }
    assert found == {one.pid: 11, other.pid: 22}


def test_what_finds_no_room_is_counted() -> None:
    with Child(CALLS, "50", "0") as process, traced(pid=process.pid, rows=1) as watch:
        process.go()
        assert watch.size("counts") == 1
        kept = sum(value["calls"] for _, value in watch.entries("counts"))
        missed = watch.package.get("missed", "0")
    assert kept >= 1
    assert kept + missed > 50
