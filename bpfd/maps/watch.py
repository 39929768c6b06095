# SPDX-License-Identifier: Apache-2.0
"""What changed in a map between two looks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from bpfd.errors import InvalidArgument, LimitExceeded, NotFound
from bpfd.kernel import map_io, map_presence
from bpfd.maps import listing, storage
from bpfd.maps.check import MAX_BYTES, MAX_ENTRIES, open_map
from bpfd.objects.objects import Objects
from bpfd.v1 import maps_pb2

MIN_INTERVAL, DEFAULT_INTERVAL, MAX_INTERVAL = 0.01, 1.0, 86400.0
_CHUNK_BYTES = 1 << 20


def interval(request: maps_pb2.WatchRequest) -> float:
    """Seconds between two looks. Raises InvalidArgument."""
    if not request.HasField("interval"):
        return DEFAULT_INTERVAL
    seconds = request.interval.ToNanoseconds() / 1e9
    if not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
        raise InvalidArgument("interval", f"{seconds:g} s is not 10 ms to one day")
    return seconds


class Watch:
    """Remembers the entries of one map. Methods block: call them in worker threads."""

    def __init__(self, objects: Objects, request: maps_pb2.WatchRequest) -> None:
        """Holds the map until `close`.

        Raises NotFound, InvalidArgument, LimitExceeded or NotSupported.
        """
        with objects.map_fd(request.map) as fd:
            self._fd = os.dup(fd)
        with ExitStack() as undo:
            undo.callback(self.close)
            member = objects.member_of_map(open_map(self._fd, None).id)
            self._map = open_map(self._fd, member)
            self._keys = request.keys
            self._last: dict[bytes, bytes] = {}
            self._refs = list(request.key_refs)
            self._map.check_readable()
            if self._map.shape.type in storage.BY_FD or self._refs:
                if not self._refs:
                    storage.check_listed(self._map)
                elif storage.takes_refs(self._map, len(self._refs)) and self._keys:
                    raise InvalidArgument("keys", "give keys or key_refs, not both")
            elif self._keys:
                self._map.check_answer(self._map.key_count("keys", self._keys))
            elif not self._map.shape.key_size:
                raise InvalidArgument("map", f"{self._map} is a {self._map.type_name}")
            self._named = bool(self._refs) or self._map.shape.type in storage.BY_FD
            """Whether keys are serialized `KeyRef`s."""
            self.info = listing.describe(self._fd, member)
            undo.pop_all()

    def close(self) -> None:
        """Lets the map go."""
        os.close(self._fd)

    def look(self) -> list[maps_pb2.WatchChunk]:
        """Entries that are new or other than at the last look, and keys that went."""
        current = dict(self._entries())
        last, self._last = self._last, current
        changed = [item for item in current.items() if last.get(item[0]) != item[1]]
        gone = [key for key in last if key not in current]
        size = self._map.shape.key_size + self._map.shape.value_size
        step = max(1, _CHUNK_BYTES // size)
        chunks = []
        for at in range(0, max(len(changed), len(gone)), step):
            part, went = changed[at : at + step], gone[at : at + step]
            chunk = maps_pb2.WatchChunk(values=b"".join(value for _, value in part))
            if self._named:
                chunk.key_refs.extend(maps_pb2.KeyRef.FromString(key) for key, _ in part)
                chunk.deleted_key_refs.extend(maps_pb2.KeyRef.FromString(key) for key in went)
            else:
                chunk.keys = b"".join(key for key, _ in part)
                chunk.deleted_keys = b"".join(went)
            chunks.append(chunk)
        return chunks

    def _named_entries(self) -> Iterator[tuple[bytes, bytes]]:
        """A process, socket or cgroup that has gone has no value any more."""
        if not self._refs:
            for entry in storage.entries(self._map):
                yield entry.ref.SerializeToString(deterministic=True), entry.value
            return
        for ref in self._refs:
            try:
                there, value = storage.lookup(self._map, [ref], 0, delete=False)
            except NotFound:
                continue
            if there == b"\1":
                yield ref.SerializeToString(deterministic=True), value

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        shape, fd = self._map.shape, self._map.fd
        size, width = shape.key_size, shape.value_size
        try:
            if self._named:
                yield from self._named_entries()
                return
            if self._keys:
                there, values = map_io.lookup(fd, shape, self._keys)
                at = 0
                for index, found in enumerate(there):
                    if found:
                        key = self._keys[index * size : (index + 1) * size]
                        yield key, values[at : at + width]
                        at += width
                return
            total = 0
            for chunk in map_presence.chunks(fd, shape, max(1, _CHUNK_BYTES // (size + width))):
                total += chunk.count
                self._check(total)
                for index in range(chunk.count):
                    yield (
                        bytes(chunk.keys[index * size : (index + 1) * size]),
                        bytes(chunk.values[index * width : (index + 1) * width]),
                    )
        except OSError as error:
            raise self._map.error("a look", error.errno or 0) from None

    def _check(self, total: int) -> None:
        size = self._map.shape.key_size + self._map.shape.value_size
        if total > MAX_ENTRIES or total * size > 4 * MAX_BYTES:
            hint = "watch some of its keys, or dump it"
            raise LimitExceeded("entries of a watched map", total - 1, hint=hint)
