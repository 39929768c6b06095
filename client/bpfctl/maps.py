# SPDX-License-Identifier: Apache-2.0
"""A map of a target: its entries as typed values, arrays, or raw bytes.

Keys and values are taken as Python values (int, str, dict, list), as the text that
`bpfctl map set` takes, or as raw bytes; BTF says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.map_reading import MapReader

if TYPE_CHECKING:
    from bpfd.v1 import maps_pb2

Mode = Literal["any", "create", "replace"]


@dataclass(frozen=True)
class Encoded:
    """An entry as the daemon takes it, see `Map.encoded`."""

    key: bytes | maps_pb2.KeyRef
    value: bytes | maps_pb2.ValueRef


BATCH_ENTRIES = 1 << 20
BATCH_BYTES = 32 << 20
"""Bounds of one batched call (protos/bpfd/v1/maps.proto)."""

MAX_REFS = 4096
"""Keys and values by name in one call."""


class Map(MapReader):
    """A map; nothing is asked of the target before it is needed."""

    def set(self, key: object, value: object, mode: Mode = "any") -> None:
        """Write one entry.

        In a per-CPU map every CPU gets the value, or each its own of a list. `mode` create
        refuses a key that exists, replace one that does not. Where values are programs,
        maps or cgroups, `value` is a reference or its text.
        """
        self.update([(key, value)], mode)

    def encoded(self, key: object, value: object) -> Encoded:
        """An entry for `update`, checked as far as this side can. Raises InvalidArgument,
        NotFound and BtfValueError."""
        from bpfctl import map_names

        ref = map_names.key_ref(self.info, key)
        return Encoded(
            ref if ref is not None else self.key.encode(key, "key"),
            map_names.value_ref(self.target, self.info, value)
            if self._refers
            else self._encode(value),
        )

    def update(
        self, entries: Iterable[tuple[object, object] | Encoded], mode: Mode = "any"
    ) -> int:
        """Write entries in batches; gives their number. See `set`."""
        from bpfd.v1 import maps_pb2

        modes = {
            "any": maps_pb2.UPDATE_MODE_UNSPECIFIED,
            "create": maps_pb2.UPDATE_MODE_CREATE,
            "replace": maps_pb2.UPDATE_MODE_REPLACE,
        }
        size = self.key.size + self.value.size * max(1, self.info.percpu_count)
        at_once = max(1, min(BATCH_ENTRIES, BATCH_BYTES // (2 * max(1, size))))
        if self._refers or self._named_keys:
            at_once = min(at_once, MAX_REFS)
        done = 0
        remaining = (
            entry if isinstance(entry, Encoded) else self.encoded(*entry) for entry in entries
        )
        while batch := list(islice(remaining, at_once)):
            request = maps_pb2.UpdateRequest(map=self.ref, mode=modes[mode])
            _add_entries(request, batch)
            done += self._update(request)
        return done

    def push(self, values: Sequence[object]) -> int:
        """Put values into a queue, stack or bloom filter; gives their number."""
        from bpfd.v1 import maps_pb2

        raw = b"".join(self.value.encode(value, "value") for value in values)
        return self._update(maps_pb2.UpdateRequest(map=self.ref, values=raw))

    def update_raw(self, keys: bytes, values: bytes) -> int:
        """Write entries that are in the kernel's own form already, in one batch."""
        from bpfd.v1 import maps_pb2

        return self._update(maps_pb2.UpdateRequest(map=self.ref, keys=keys, values=values))

    def _update(self, request: maps_pb2.UpdateRequest) -> int:
        rpc = self.target.rpc
        return rpc.call(rpc.maps.Update, request, "Maps.Update").updated

    def _encode(self, value: object) -> bytes:
        if not self.per_cpu:
            return self.value.encode(value, "value")
        count, stride = self.info.percpu_count, self.info.percpu_stride
        if not isinstance(value, list):
            return self.value.encode(value, "value").ljust(stride, b"\0") * count
        if len(value) != count:
            raise InvalidArgument("value", f"the target has {count} CPUs, not {len(value)}")
        return b"".join(
            self.value.encode(item, f"value[{cpu}]").ljust(stride, b"\0")
            for cpu, item in enumerate(value)
        )

    def delete(self, key: object) -> None:
        """Remove one entry; raises NotFound."""
        from bpfd.v1 import maps_pb2

        request = maps_pb2.DeleteRequest(map=self.ref)
        self._set_key(request, key)
        if self._delete(request).missing:
            raise NotFound("key", self.key_text(key), hint=f"in {self.name}")

    def clear(self) -> int:
        """Remove every entry; gives their number."""
        from bpfd.v1 import maps_pb2

        return self._delete(maps_pb2.DeleteRequest(map=self.ref, all=True)).deleted

    def _delete(self, request: maps_pb2.DeleteRequest) -> maps_pb2.DeleteResponse:
        rpc = self.target.rpc
        return rpc.call(rpc.maps.Delete, request, "Maps.Delete")


def _add_entries(request: maps_pb2.UpdateRequest, batch: list[Encoded]) -> None:
    keys, values = [], []
    for entry in batch:
        if isinstance(entry.key, bytes):
            keys.append(entry.key)
        else:
            request.key_refs.append(entry.key)
        if isinstance(entry.value, bytes):
            values.append(entry.value)
        else:
            request.refs.append(entry.value)
    request.keys, request.values = b"".join(keys), b"".join(values)
