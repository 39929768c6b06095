# SPDX-License-Identifier: Apache-2.0
"""A map's entries as a stream of messages, read in threads while gRPC sends."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

from bpfd import wire, work
from bpfd.errors import InvalidArgument, LimitExceeded, NotSupported
from bpfd.kernel import map_io, map_presence, map_split
from bpfd.kernel.constants import MapType
from bpfd.kernel.host import online_cpus
from bpfd.maps import listing, storage
from bpfd.maps.check import KEYLESS, OpenMap, open_map
from bpfd.objects.objects import Objects
from bpfd.v1 import maps_pb2

CHUNK_BYTES, MAX_CHUNK_BYTES = 1 << 20, 16 << 20
MAX_ENTRY_BYTES = 64 << 20
MAX_THREADS = 4
QUEUED = 4
"""Messages that wait for gRPC at most."""


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class Stream:
    """Runs readers in threads and gives out their messages; `close` it in any case."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | _End] = asyncio.Queue()
        self._room = threading.Semaphore(QUEUED)
        self._closed = False
        self._threads: list[threading.Thread] = []

    def start(self, read: Callable[[], Iterator[bytes]]) -> None:
        """One more reader, in a thread of its own."""
        # Not the pool of `work`: a slow client would keep others from their calls.
        thread = threading.Thread(target=self._run, args=(read,), name="dump", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, read: Callable[[], Iterator[bytes]]) -> None:
        end: BaseException | None = None
        messages = read()
        try:
            for message in messages:
                self._room.acquire()
                if self._closed:
                    break
                self._loop.call_soon_threadsafe(self._queue.put_nowait, message)
        except BaseException as error:
            end = error
        finally:
            messages.close()  # type: ignore[attr-defined]
            self._loop.call_soon_threadsafe(self._queue.put_nowait, _End(end))

    async def messages(self) -> AsyncIterator[bytes]:
        """Messages of all readers, as they come. Raises what a reader raised."""
        running = len(self._threads)
        while running:
            message = await self._queue.get()
            if isinstance(message, _End):
                if message.error is not None:
                    raise message.error
                running -= 1
                continue
            self._room.release()
            yield message

    async def close(self) -> None:
        """Ends the readers and waits for them: what they read may be closed afterwards."""
        self._closed = True
        for _ in self._threads:
            self._room.release()
        await work.run(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()


def chunk_entries(found: OpenMap, asked: int) -> int:
    """Entries of one message. Raises LimitExceeded for a map with giant values."""
    size = found.shape.key_size + found.shape.value_size
    if size > MAX_ENTRY_BYTES:
        raise LimitExceeded("bytes of one entry", MAX_ENTRY_BYTES, asked=size)
    most = MAX_CHUNK_BYTES // size if asked else CHUNK_BYTES // size
    # Storage maps have no number of entries.
    return max(1, min(asked or most, most, found.shape.max_entries or most))


def check(found: OpenMap) -> None:
    """Raises NotSupported or InvalidArgument for a map that cannot be dumped."""
    found.check_readable()
    if found.shape.type in storage.BY_FD:
        storage.check_listed(found)
    if found.shape.type == MapType.BLOOM_FILTER:
        raise InvalidArgument(
            "map", f"{found} is a bloom filter: it only tells whether it has a value; use peek"
        )
    if found.shape.type in KEYLESS:
        raise InvalidArgument(
            "map", f"{found} is a {found.type_name}; reading it takes its values out: use pop"
        )
    if not found.shape.key_size:
        raise NotSupported(f"a dump of {found}, a {found.type_name}")


def readers(found: OpenMap, entries: int) -> list[Callable[[], Iterator[bytes]]]:
    """Functions that read the map's parts as messages."""
    if found.shape.type in storage.BY_FD:
        return [lambda: _storage_messages(found, entries)]
    threads = min(len(online_cpus()), MAX_THREADS)
    parts = map_split.parts(found.fd, found.shape, entries, threads)

    def messages(chunks: Iterator[map_io.Chunk]) -> Iterator[bytes]:
        try:
            for chunk in chunks:
                yield wire.dump_chunk(
                    chunk.keys, chunk.values, chunk.count, repeats=chunk.repeats
                )
        except OSError as error:
            raise found.error("a dump", error.errno or 0) from None
        finally:
            chunks.close()  # type: ignore[attr-defined]

    if parts:
        return [lambda part=part: messages(part.read()) for part in parts]  # type: ignore[misc]
    return [lambda: messages(map_presence.chunks(found.fd, found.shape, entries))]


def _storage_messages(found: OpenMap, entries: int) -> Iterator[bytes]:
    there = storage.entries(found)
    while some := list(islice(there, entries)):
        yield maps_pb2.DumpChunk(
            key_refs=[each.ref for each in some],
            names=[each.name for each in some],
            values=b"".join(each.value for each in some),
            count=len(some),
        ).SerializeToString()


class Opened:
    """A map that is held for a stream."""

    def __init__(self, objects: Objects, request: maps_pb2.DumpRequest) -> None:
        """Raises NotFound, NotSupported, InvalidArgument or LimitExceeded."""
        with objects.map_fd(request.map) as fd:
            self.fd = os.dup(fd)
        with ExitStack() as undo:
            undo.callback(self.close)
            found = open_map(self.fd, None)
            member = objects.member_of_map(found.id)
            self.map = open_map(self.fd, member)
            self.info = listing.describe(self.fd, member)
            check(self.map)
            self.readers = readers(self.map, chunk_entries(self.map, request.chunk_entries))
            undo.pop_all()

    def close(self) -> None:
        """Lets the map go."""
        os.close(self.fd)
