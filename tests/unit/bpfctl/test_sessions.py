# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpfctl
import pytest
from bpfctl.target import Target

from tests.unit.bpfctl.fake_daemon import FakeDaemon


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[FakeDaemon, Target]]:
    address = f"unix:{tmp_path}/s"
    with FakeDaemon(address) as fake, bpfctl.connect(address) as target:
        yield fake, target


def test_close_waits_for_the_daemon(served: tuple[FakeDaemon, Target]) -> None:
    fake, target = served
    with target.session("a script", grace=1.5) as session:
        assert session.id == "s-1"
        assert session.ended is None
    assert fake.sessions.closed == ["s-1"]
    request = fake.sessions.requests[0]
    assert (request.label, request.grace.ToMilliseconds()) == ("a script", 1500)
    session.close()
    assert fake.sessions.closed == ["s-1"]


def test_daemon_that_ends_the_session_is_noticed(served: tuple[FakeDaemon, Target]) -> None:
    fake, target = served
    with target.session("x") as session:
        fake.sessions.reason = "shutting down"
        fake.sessions.closing.set()
        assert session.end.wait(10)
        assert "shutting down" in str(session.ended)
    assert fake.sessions.closed == []


def test_broken_stream_ends_a_session_without_grace(
    served: tuple[FakeDaemon, Target],
) -> None:
    fake, target = served
    with target.session("x") as session:
        fake.sessions.drop.set()
        assert session.end.wait(10)
        assert session.ended is not None
    assert len(fake.sessions.requests) == 1


def test_broken_stream_is_taken_up_again_within_the_grace(
    served: tuple[FakeDaemon, Target],
) -> None:
    fake, target = served
    with target.session("x", grace=30) as session:
        fake.sessions.drop.set()
        for _ in range(1000):
            if len(fake.sessions.requests) == 2:
                break
            session.end.wait(0.01)
        assert fake.sessions.requests[1].resume == "s-1"
        assert session.ended is None


def test_session_ends_with_the_connection(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    with FakeDaemon(address) as fake:
        target = bpfctl.connect(address)
        session = target.session("x")
        target.close()
        assert fake.sessions.ended.wait(10)
        assert session.end.wait(10)
