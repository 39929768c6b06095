# SPDX-License-Identifier: Apache-2.0
"""A map of a target: its entries as typed values, arrays, or raw bytes.

Keys and values are taken as Python values (int, str, dict, list), as the text that
`bpfctl map set` takes, or as raw bytes; BTF says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.references import describe

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array
    from bpfctl.btf.parse import ByteOrder
    from bpfctl.target import Target
    from bpfctl.wire import DumpChunk
    from bpfd.v1 import common_pb2, maps_pb2

Mode = Literal["any", "create", "replace"]

BATCH_ENTRIES = 1 << 20
BATCH_BYTES = 32 << 20
"""Bounds of one batched call (protos/bpfd/v1/maps.proto)."""

_FEW = 64
"""Entries up to which importing numpy takes longer than decoding one by one."""


class Map:
    """A map; nothing is asked of the target before it is needed."""

    def __init__(self, target: Target, ref: common_pb2.MapRef, *, plain: bool = False) -> None:
        """Use `Target.map`. `plain`: numbers where addresses and ports would be shown."""
        self.target = target
        self.ref = ref
        self.plain = plain

    @cached_property
    def info(self) -> common_pb2.KernelMap:
        """What the kernel says of it; raises NotFound."""
        from bpfd.v1 import maps_pb2

        rpc = self.target.rpc
        request = maps_pb2.GetMapRequest(map=self.ref, owners=True)
        return rpc.call(rpc.maps.Get, request, "Maps.Get")

    @property
    def name(self) -> str:
        """As it was asked for."""
        return describe(self.ref)

    @property
    def per_cpu(self) -> bool:
        """Whether each CPU has a value of its own."""
        return self.info.percpu_count > 0

    @cached_property
    def btf(self) -> Btf | None:
        """Types of the object that made it; None: it was made without."""
        return self.target.btf.of_id(self.info.btf_id) if self.info.btf_id else None

    @cached_property
    def records_btf(self) -> Btf | None:
        """Types of a ring's records: those of the programs that use it.

        The kernel keeps no BTF with maps that have neither key nor value.
        """
        if self.btf is not None:
            return self.btf
        for program in self.target.programs():
            if program.btf_id and self.info.id in program.map_ids:
                return self.target.btf.of_id(program.btf_id)
        return None

    @cached_property
    def record_type(self) -> str:
        """Struct of a ring's records, as whoever loaded the object said; empty: unknown."""
        if not self.info.object:
            return ""
        held = self.target.object(self.info.object).maps.get(self.info.member)
        return held.record_type if held is not None else ""

    @cached_property
    def key(self) -> Codec:
        """Reads and writes keys."""
        from bpfd.v1 import common_pb2

        lpm = self.info.type == common_pb2.MAP_TYPE_LPM_TRIE
        info = self.info
        return self._codec(self.btf, info.btf_key_type_id, info.key_size, lpm or None)

    @cached_property
    def value(self) -> Codec:
        """Reads and writes values of one CPU."""
        info = self.info
        if info.btf_vmlinux_value_type_id:
            # Of a struct_ops map: the kernel's own struct, of reference counts, state and data.
            btf = self.target.btf.kernel()
            return self._codec(btf, info.btf_vmlinux_value_type_id, info.value_size, None)
        return self._codec(self.btf, info.btf_value_type_id, info.value_size, None)

    def _codec(self, btf: Btf | None, type_id: int, size: int, lpm: bool | None) -> Codec:
        from bpfctl.btf.codec import Codec

        return Codec.of(
            btf, type_id, size, byteorder=self._byteorder, plain=self.plain, lpm=lpm
        )

    @property
    def _byteorder(self) -> ByteOrder:
        return "big" if self.target.info().big_endian else "little"

    # Reading

    def chunks(self, chunk_entries: int = 0) -> Iterator[DumpChunk]:
        """Every entry as raw bytes, thousands at a time; see `bpfctl.wire.DumpChunk`."""
        from bpfctl import wire
        from bpfd.v1 import maps_pb2

        rpc = self.target.rpc
        request = maps_pb2.DumpRequest(map=self.ref, chunk_entries=chunk_entries)
        with rpc.stream(wire.dump(rpc.channel), request, "Maps.Dump") as stream:
            yield from stream

    def arrays(self) -> Iterator[tuple[Array, Array]]:
        """Every entry as numpy arrays (keys, values), thousands at a time.

        Values of a per-CPU map have the shape (entries, CPUs).
        """
        for chunk in self.chunks():
            if chunk.count:
                yield self._arrays(chunk)

    def _arrays(self, chunk: DumpChunk) -> tuple[Array, Array]:
        from bpfctl.btf import array

        return array.decode_dump(
            chunk.keys,
            chunk.values,
            self.key,
            self.value,
            cpus=self.info.percpu_count,
            stride=self.info.percpu_stride,
        )

    def rows(self, *, per_cpu: bool = False) -> Iterator[dict[str, Any]]:
        """Every entry as {"key": ..., "value": ...}, typed.

        The values of all CPUs are combined (numbers are added), or with `per_cpu` a list.
        """
        for chunk in self.chunks():
            if not chunk.count:
                continue
            keys, values = self._typed(chunk, per_cpu)
            for key, value in zip(keys, values, strict=True):
                yield {"key": key, "value": value}

    def _typed(self, chunk: DumpChunk, per_cpu: bool) -> tuple[list[Any], list[Any]]:
        if chunk.count > _FEW:
            from bpfctl.btf import array

            keys, values = self._arrays(chunk)
            total = self.per_cpu and not per_cpu
            return array.rows(keys, self.key), array.rows(values, self.value, total=total)
        key_size, value_size = self.key.size, len(chunk.values) // chunk.count
        places = range(chunk.count)
        return (
            [self.key.decode(chunk.keys[i * key_size : (i + 1) * key_size]) for i in places],
            [
                self._decode(chunk.values[i * value_size : (i + 1) * value_size], per_cpu)
                for i in places
            ],
        )

    def _decode(self, raw: bytes | memoryview, per_cpu: bool) -> Any:
        if not self.per_cpu:
            return self.value.decode(raw)
        values = self.value.decode_cpus(raw, self.info.percpu_stride)
        return values if per_cpu else self.value.combine(values)

    def json_lines(self, *, per_cpu: bool = False) -> Iterator[bytes]:
        """Every entry as a line of JSON, many lines at a time: the fast way to text."""
        from bpfctl.btf import array

        total = self.per_cpu and not per_cpu
        for chunk in self.chunks():
            if chunk.count:
                keys, values = self._arrays(chunk)
                yield array.dump_json_lines(keys, values, self.key, self.value, total=total)

    def get(self, key: object, *, per_cpu: bool = False) -> Any:
        """The value of a key; raises NotFound."""
        raw = self.key.encode(key, "key")
        answer = self._lookup(keys=raw)
        if answer.found != b"\1":
            raise NotFound("key", self.key.format(self.key.decode(raw)), hint=f"in {self.name}")
        return self._decode(answer.values, per_cpu)

    def pop(self, count: int = 1) -> list[Any]:
        """Take up to `count` values out of a queue or stack."""
        answer = self._lookup(pop=count)
        size = answer.value_stride or self.value.size
        data = answer.values
        return [self.value.decode(data[at : at + size]) for at in range(0, len(data), size)]

    def _lookup(self, keys: bytes = b"", pop: int = 0) -> maps_pb2.LookupResponse:
        from bpfd.v1 import maps_pb2

        rpc = self.target.rpc
        request = maps_pb2.LookupRequest(map=self.ref, keys=keys, pop=pop)
        return rpc.call(rpc.maps.Lookup, request, "Maps.Lookup")

    # Writing

    def set(self, key: object, value: object, mode: Mode = "any") -> None:
        """Write one entry.

        In a per-CPU map every CPU gets the value, or each its own of a list. `mode` create
        refuses a key that exists, replace one that does not. Where values are programs,
        maps or cgroups, `value` is a reference or its text.
        """
        self.update([(key, value)], mode)

    def update(self, entries: Iterable[tuple[object, object]], mode: Mode = "any") -> int:
        """Write entries in batches; gives their number. See `set`."""
        from bpfd.v1 import maps_pb2

        modes = {
            "any": maps_pb2.UPDATE_MODE_UNSPECIFIED,
            "create": maps_pb2.UPDATE_MODE_CREATE,
            "replace": maps_pb2.UPDATE_MODE_REPLACE,
        }
        refs = self._value_kind() is not None
        size = self.key.size + self.value.size * max(1, self.info.percpu_count)
        at_once = max(1, min(BATCH_ENTRIES, BATCH_BYTES // (2 * max(1, size))))
        done = 0
        remaining = iter(entries)
        while batch := list(islice(remaining, at_once)):
            request = maps_pb2.UpdateRequest(map=self.ref, mode=modes[mode])
            request.keys = b"".join(self.key.encode(key, "key") for key, _ in batch)
            if refs:
                request.refs.extend(self._value_ref(value) for _, value in batch)
            else:
                request.values = b"".join(self._encode(value) for _, value in batch)
            done += self._update(request)
        return done

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

    def _value_kind(self) -> str | None:
        from bpfd.v1 import common_pb2

        return {
            common_pb2.MAP_TYPE_PROG_ARRAY: "program",
            common_pb2.MAP_TYPE_ARRAY_OF_MAPS: "map",
            common_pb2.MAP_TYPE_HASH_OF_MAPS: "map",
            common_pb2.MAP_TYPE_CGROUP_ARRAY: "cgroup",
        }.get(self.info.type)

    def _value_ref(self, value: Any) -> maps_pb2.ValueRef:
        from bpfd.v1 import common_pb2, maps_pb2

        kind = self._value_kind()
        if kind == "program":
            return maps_pb2.ValueRef(program=self.target.program_ref(value))
        if kind == "map":
            return maps_pb2.ValueRef(map=self.target.map_ref(value))
        return maps_pb2.ValueRef(cgroup=common_pb2.Cgroup(path=str(value)))

    def delete(self, key: object) -> None:
        """Remove one entry; raises NotFound."""
        raw = self.key.encode(key, "key")
        if self._delete(keys=raw).missing:
            raise NotFound("key", self.key.format(self.key.decode(raw)), hint=f"in {self.name}")

    def clear(self) -> int:
        """Remove every entry; gives their number."""
        return self._delete(all_keys=True).deleted

    def _delete(self, keys: bytes = b"", all_keys: bool = False) -> maps_pb2.DeleteResponse:
        from bpfd.v1 import maps_pb2

        rpc = self.target.rpc
        request = maps_pb2.DeleteRequest(map=self.ref, keys=keys, all=all_keys)
        return rpc.call(rpc.maps.Delete, request, "Maps.Delete")
