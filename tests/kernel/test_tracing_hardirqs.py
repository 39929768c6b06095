# SPDX-License-Identifier: Apache-2.0
"""Package hardirqs: what it counts lies between two looks at the kernel's own counters."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.kernel.histogram_package import HistogramPackage
from tests.kernel.loaded_package import types_are_known

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading tracing programs needs root"),
    pytest.mark.skipif(not types_are_known("hardirqs"), reason="needs kernel BTF"),
]

SECONDS = 30.0
PACKETS = 500


def softirqs() -> Counter[str]:
    """Runs by name, of all CPUs."""
    lines = Path("/proc/softirqs").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return Counter({row[0].rstrip(":").lower(): sum(map(int, row[1:])) for row in rows})


def interrupts() -> Counter[str]:
    """Runs of handlers by name, of all CPUs; only interrupts with one handler."""
    heading, *lines = Path("/proc/interrupts").read_text().splitlines()
    cpus = len(heading.split())
    found: Counter[str] = Counter()
    for line in lines:
        words = line.split()
        if words[0].rstrip(":").isdigit() and len(words) > cpus + 1 and "," not in line:
            found[words[-1]] += sum(map(int, words[1 : cpus + 1]))
    return found


def send(count: int) -> None:
    """Datagrams from and to this process: each raises the soft interrupt net_rx."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", 0))
        for _ in range(count):
            other.sendto(b"x", one.getsockname())
            assert one.recv(1) == b"x"


def between(
    look: Callable[[], Counter[str]],
    settings: dict[str, str],
    kind: str,
    work: Callable[[], None],
) -> dict[str, tuple[int, int, int]]:
    """(least, counted, most) by name, while `work` runs."""
    outer = look()
    with closing(HistogramPackage("hardirqs", settings)) as package:
        first = look()
        work()
        inner = look()
        inner.subtract(first)
        found = {
            str(each.labels["name"]): each.count
            for each in package.histograms("durations", "interrupt", "name")
            if each.labels["interrupt"] == kind
        }
        assert package.missed() == 0
    most = look()
    most.subtract(outer)
    return {name: (inner[name], found.get(name, 0), most[name]) for name in most}


def test_soft_interrupts_are_counted_by_name() -> None:
    found = between(softirqs, {}, "SOFT", lambda: send(PACKETS))
    # The kernel counts a run before it traces it: one may be under way at either look, on
    # each CPU.
    slack = os.cpu_count() or 1
    for name, (least, counted, most) in found.items():
        assert least - slack <= counted <= most + slack, (name, found)
    assert found["net_rx"][1] >= PACKETS * 9 // 10


def test_hard_interrupts_are_counted_by_name() -> None:
    def work() -> None:
        """Until some came, as they do by themselves: of disks, network, serial lines."""
        before, until = interrupts(), time.monotonic() + SECONDS
        while time.monotonic() < until:
            with open("/dev/console", "wb", buffering=0) as console:
                console.write(b"\r")
            later = interrupts()
            later.subtract(before)
            if sum(later.values()) >= 3:
                return
            time.sleep(0.05)

    found = between(interrupts, {"soft": "false"}, "HARD", work)
    slack = os.cpu_count() or 1
    if not any(least for least, _, _ in found.values()):
        pytest.skip("no interrupt with a name comes on this machine")
    for name, (least, counted, most) in found.items():
        if found[name][2]:
            assert least - slack <= counted <= most + slack, (name, found)


def test_durations_are_shorter_than_the_time_that_passed() -> None:
    with closing(HistogramPackage("hardirqs", {"step": "1000"})) as package:
        begin = time.monotonic_ns()
        send(PACKETS)
        found = package.histograms("durations", "interrupt")
        passed = time.monotonic_ns() - begin
    soft = next(each for each in found if each.labels["interrupt"] == "SOFT")
    assert soft.count >= PACKETS * 9 // 10
    assert soft.sum is not None
    assert 0 < soft.sum <= passed * (os.cpu_count() or 1)
    assert (soft.begin(2), soft.end(2)) == (2000, 3000)


def test_soft_interrupts_can_be_left_out() -> None:
    with closing(HistogramPackage("hardirqs", {"soft": "false"})) as package:
        send(20)
        assert {each.labels["interrupt"] for each in package.histograms("durations")} <= {
            "HARD"
        }
