# SPDX-License-Identifier: Apache-2.0
"""Messages from reader threads to the event loop."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bpfd.errors import InvalidArgument, KernelError, LimitExceeded, NotSupported
from bpfd.kernel.constants import MapType
from bpfd.kernel.map_io import Shape
from bpfd.maps import dump
from bpfd.maps.check import OpenMap


def _map(kind: MapType, key: int, value: int, entries: int = 1 << 30) -> OpenMap:
    return OpenMap(-1, 1, "test", kind.name.lower(), Shape(kind, key, value, entries), 0)


async def test_messages_of_all_readers_arrive_in_each_ones_order() -> None:
    stream = dump.Stream()
    for name in (b"a", b"b"):
        stream.start(lambda name=name: (name + b"%d" % index for index in range(100)))  # type: ignore[misc]
    found = [message async for message in stream.messages()]
    await stream.close()
    for name in (b"a", b"b"):
        mine = [message for message in found if message.startswith(name)]
        assert mine == [name + b"%d" % index for index in range(100)]


async def test_readers_wait_for_a_client_that_does_not_read() -> None:
    made: list[int] = []

    def read() -> Iterator[bytes]:
        for index in range(100):
            made.append(index)
            yield b"x"

    stream = dump.Stream()
    stream.start(read)
    messages = stream.messages()
    assert await anext(messages) == b"x"
    # One is with the reader, QUEUED wait, one was taken.
    assert len(made) <= dump.QUEUED + 2
    await messages.aclose()  # type: ignore[attr-defined]
    await stream.close()
    assert len(made) <= dump.QUEUED + 3


async def test_close_ends_threads_and_readers() -> None:
    ended = threading.Event()

    def read() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    stream = dump.Stream()
    stream.start(read)
    await stream.close()
    assert ended.is_set()
    assert not any(thread.name == "dump" for thread in threading.enumerate())


async def test_error_of_a_reader_reaches_the_caller() -> None:
    def read() -> Iterator[bytes]:
        yield b"one"
        raise KernelError("a dump", 12)

    stream = dump.Stream()
    stream.start(read)
    messages = stream.messages()
    assert await anext(messages) == b"one"
    with pytest.raises(KernelError):
        await anext(messages)
    await stream.close()


def test_chunks_have_a_size() -> None:
    assert dump.chunk_entries(_map(MapType.HASH, 16, 16), 0) == 32768
    assert dump.chunk_entries(_map(MapType.HASH, 16, 16), 5) == 5
    assert dump.chunk_entries(_map(MapType.HASH, 16, 16), 1 << 30) == 524288
    assert dump.chunk_entries(_map(MapType.HASH, 16, 16, 9), 0) == 9
    assert dump.chunk_entries(_map(MapType.ARRAY, 4, 2 << 20), 0) == 1
    with pytest.raises(LimitExceeded):
        dump.chunk_entries(_map(MapType.ARRAY, 4, 65 << 20), 0)


def test_what_cannot_be_dumped_says_why() -> None:
    with pytest.raises(NotSupported, match=r"Events\.Subscribe"):
        dump.check(_map(MapType.RINGBUF, 0, 0))
    with pytest.raises(InvalidArgument, match="pop"):
        dump.check(_map(MapType.QUEUE, 0, 8))
    dump.check(_map(MapType.HASH, 4, 8))
