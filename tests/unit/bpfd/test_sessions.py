# SPDX-License-Identifier: Apache-2.0
"""Sessions without a kernel: who may own what, and when it ends."""

from __future__ import annotations

import asyncio

import pytest

from bpfd.errors import InvalidArgument, LeaseExpired, LimitExceeded
from bpfd.sessions import MAX_SESSIONS, Sessions


def recording() -> tuple[Sessions, list[str]]:
    sessions, ended = Sessions(), []

    async def end(session: str) -> None:
        ended.append(session)

    sessions.on_end.append(end)
    return sessions, ended


async def test_leaving_ends_it() -> None:
    sessions, ended = recording()
    session = sessions.open("me", 0, "")
    assert sessions.alive(session.id)
    assert sessions.label(session.id) == "me"
    sessions.leave(session)
    assert not sessions.alive(session.id)
    await session.ended.wait()
    assert ended == [session.id]
    with pytest.raises(LeaseExpired):
        sessions.require(session.id)


async def test_grace_keeps_it_and_resume_takes_it_up() -> None:
    sessions, ended = recording()
    session = sessions.open("", 3600, "")
    sessions.leave(session)
    assert sessions.alive(session.id)
    assert sessions.open("", 0, session.id) is session
    with pytest.raises(InvalidArgument):
        sessions.open("", 0, session.id)
    await sessions.end(session.id)
    assert ended == [session.id]
    sessions.leave(session)
    assert ended == [session.id]


async def test_grace_ends() -> None:
    sessions, ended = recording()
    session = sessions.open("", 0.001, "")
    sessions.leave(session)
    await session.ended.wait()
    assert ended == [session.id]
    with pytest.raises(LeaseExpired):
        sessions.open("", 0, session.id)


async def test_close_tells_every_stream() -> None:
    sessions, ended = recording()
    made = [sessions.open("", 60, "") for _ in range(3)]
    await sessions.close("bye")
    assert [await session.closing for session in made] == ["bye"] * 3
    assert sorted(ended) == sorted(session.id for session in made)
    assert not sessions.active


async def test_end_waits_for_what_it_gives_back() -> None:
    sessions = Sessions()
    done = asyncio.Event()

    async def slow(session: str) -> None:
        await asyncio.sleep(0)
        done.set()

    sessions.on_end.append(slow)
    await sessions.end(sessions.open("", 0, "").id)
    assert done.is_set()


async def test_bounds() -> None:
    sessions, _ = recording()
    for label, grace in (("x" * 129, 0.0), ("", -1.0), ("", 3601.0)):
        with pytest.raises(InvalidArgument):
            sessions.open(label, grace, "")
    for _ in range(MAX_SESSIONS):
        sessions.open("", 0, "")
    with pytest.raises(LimitExceeded):
        sessions.open("", 0, "")
