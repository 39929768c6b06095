# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bpfctl import fanout
from bpfctl.errors import TargetUnreachable
from bpfctl.target import Target

from tests.unit.bpfctl.fake_daemon import FakeDaemon


@pytest.fixture
def names(tmp_path: Path) -> Iterator[list[str]]:
    addresses = [f"unix:{tmp_path}/{number}" for number in range(4)]
    with ExitStack() as stack:
        for number, address in enumerate(addresses):
            fake = stack.enter_context(FakeDaemon(address))
            fake.target.info.hostname = f"h{number}"
        yield addresses


def test_values_come_in_the_order_of_the_names(names: list[str]) -> None:
    arrived = threading.Barrier(len(names), timeout=20)

    def work(target: Target) -> str:
        arrived.wait()  # all are there at once
        return target.info().hostname

    found = list(fanout.on_each(reversed(names), work))
    assert [outcome.value for outcome in found] == ["h3", "h2", "h1", "h0"]
    assert [outcome.target for outcome in found] == names[::-1]


def test_one_failure_stops_no_other(names: list[str], tmp_path: Path) -> None:
    def work(target: Target) -> int:
        return 1 // (target.name != names[2])

    found = list(fanout.on_each([*names, f"unix:{tmp_path}/none"], work))
    assert [outcome.value for outcome in found] == [1, 1, None, 1, None]
    assert isinstance(found[2].error, ZeroDivisionError)
    assert isinstance(found[4].error, TargetUnreachable)


def test_no_more_at_once_than_asked(names: list[str]) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work(_: Target) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1

    list(fanout.on_each(names, work, at_once=2))
    assert most == 2


def test_whoever_leaves_early_ends_what_has_not_begun(names: list[str]) -> None:
    begun: list[str] = []
    outcomes = fanout.on_each(names, lambda target: begun.append(target.name), at_once=1)
    assert next(outcomes).target == names[0]
    outcomes.close()
    threading.Event().wait(0.1)
    assert len(begun) < len(names)
