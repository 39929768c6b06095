# SPDX-License-Identifier: Apache-2.0
"""Lines of a trace pipe that a test writes."""

from __future__ import annotations

import asyncio

import pytest

from bpfd.events import trace_lines
from bpfd.events.trace_lines import TraceLines


class FakePipe:
    """Stands for bpfd.kernel.trace_pipe.TracePipe."""

    made: list[FakePipe]

    def __init__(self) -> None:
        self.lines = b""
        self.closed = False
        self.fail = False
        FakePipe.made.append(self)

    def read(self) -> bytes:
        if self.fail:
            raise OSError(5, "broken")
        lines, self.lines = self.lines, b""
        return lines

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def pipes(monkeypatch: pytest.MonkeyPatch) -> list[FakePipe]:
    FakePipe.made = []
    monkeypatch.setattr(trace_lines, "TracePipe", FakePipe)
    monkeypatch.setattr(trace_lines, "INTERVAL", 0.001)
    return FakePipe.made


async def test_everybody_gets_every_line_from_one_reader(pipes: list[FakePipe]) -> None:
    lines = TraceLines()
    streams = [await lines.subscribe(), await lines.subscribe()]
    assert len(pipes) == 1
    pipes[0].lines = b"one\ntwo\n"
    for stream in streams:
        assert await asyncio.wait_for(stream.next(), 10) == b"one\ntwo\n"
    streams[0].close()
    assert not pipes[0].closed
    streams[1].close()
    assert pipes[0].closed
    again = await lines.subscribe()
    assert len(pipes) == 2
    again.close()


async def test_slow_stream_is_told_what_it_missed(
    pipes: list[FakePipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_lines, "MAX_QUEUED", 10)
    lines = TraceLines()
    stream = await lines.subscribe()
    for text in (b"123456\n", b"too long\n", b"and\nmore\nx\n"):
        stream.put(text)
    assert await stream.next() == b"123456\n"
    stream.put(b"next\n")
    assert await stream.next() == b"[bpfd: 4 LINES LOST]\nnext\n"
    stream.close()


async def test_end_and_failure_end_streams(pipes: list[FakePipe]) -> None:
    lines = TraceLines()
    stream = await lines.subscribe()
    pipes[0].fail = True
    with pytest.raises(OSError, match="broken"):
        await asyncio.wait_for(stream.next(), 10)
    stream.close()
    stream = await lines.subscribe()
    waiting = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    lines.finish()
    assert await asyncio.wait_for(waiting, 10) is None
    stream.close()
