# SPDX-License-Identifier: Apache-2.0
"""What changes in a map, as the daemon sees it between two looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfctl.map_reading import MapReader
    from bpfd.v1 import maps_pb2


@dataclass(frozen=True)
class Change:
    """What a watch saw."""

    key: Any
    value: Any
    """None: the key went."""
    name: str = ""
    """Of a program or map that the value is; empty: none."""


class Watch:
    """Changes as they come; leaving the context, or `close` in another thread, ends it."""

    def __init__(
        self, entry: MapReader, request: maps_pb2.WatchRequest, *, per_cpu: bool = False
    ) -> None:
        """Use `Map.watch`."""
        self._map = entry
        self._per_cpu = per_cpu
        self._names = entry.value_names()
        rpc = entry.target.rpc
        self._stream = rpc.stream(rpc.maps.Watch, request, "Maps.Watch")

    def __iter__(self) -> Iterator[Change]:
        for chunk in self._stream:
            yield from self._changes(chunk)

    def _changes(self, chunk: maps_pb2.WatchChunk) -> Iterator[Change]:
        from bpfctl.map_names import key_text

        named = [key_text(ref) for ref in chunk.key_refs]
        keys = named or self._keys(chunk.keys)
        values = self._map.decoded(chunk.values, len(keys), self._per_cpu)
        for key, value in zip(keys, values, strict=True):
            yield Change(key, value, self._names(value) if self._names else "")
        for ref in chunk.deleted_key_refs:
            yield Change(key_text(ref), None)
        for key in self._keys(chunk.deleted_keys):
            yield Change(key, None)

    def _keys(self, raw: bytes) -> list[Any]:
        key = self._map.key
        step = max(1, key.size)
        return [key.decode(raw[at : at + step]) for at in range(0, len(raw), step)]

    def close(self) -> None:
        """No more changes."""
        self._stream.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
