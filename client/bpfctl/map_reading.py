# SPDX-License-Identifier: Apache-2.0
"""What a map of a target is, and its entries as typed values, arrays, or raw bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bpfctl.errors import NotFound
from bpfctl.references import describe

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array
    from bpfctl.btf.parse import ByteOrder
    from bpfctl.map_watch import Watch
    from bpfctl.symbols.stacks import StackSymbols
    from bpfctl.target import Target
    from bpfctl.wire import DumpChunk
    from bpfd.v1 import common_pb2, maps_pb2

    _WithKeys = maps_pb2.LookupRequest | maps_pb2.DeleteRequest | maps_pb2.WatchRequest


_FEW = 64
"""Entries up to which importing numpy takes longer than decoding one by one."""


class MapReader:
    """A map as it is read; nothing is asked of the target before it is needed."""

    def __init__(self, target: Target, ref: common_pb2.MapRef, *, plain: bool = False) -> None:
        """Use `Target.map`. `plain`: numbers where addresses and ports would be shown."""
        self.target = target
        self.ref = ref
        self.plain = plain
        self.stack_pid = 0
        """Process whose symbols stacks of user space are read by; 0: none."""

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
        if (declared := self._declared("key", info.key_size)) is not None:
            return declared
        return self._codec(self.btf, info.btf_key_type_id, info.key_size, lpm or None)

    @cached_property
    def value(self) -> Codec:
        """Reads and writes values of one CPU."""
        info = self.info
        if info.btf_vmlinux_value_type_id:
            # Of a struct_ops map: the kernel's own struct, of reference counts, state and data.
            btf = self.target.btf.kernel()
            return self._codec(btf, info.btf_vmlinux_value_type_id, info.value_size, None)
        if (declared := self._declared("value", info.value_size)) is not None:
            return declared
        return self._codec(self.btf, info.btf_value_type_id, info.value_size, None)

    def _declared(self, member: str, size: int) -> Codec | None:
        """The codec of a type that only the programs' BTF has; None: the kernel has it too."""
        from bpfctl import declared

        if not declared.asks(self.info, member) or getattr(self.info, f"btf_{member}_type_id"):
            return None
        btf = self.records_btf
        number = declared.type_id(btf, self.info, member) if btf is not None else 0
        return self._codec(btf, number, size, None) if number else None

    def _codec(self, btf: Btf | None, type_id: int, size: int, lpm: bool | None) -> Codec:
        from bpfctl.btf.codec import Codec

        return Codec.of(
            btf, type_id, size, byteorder=self._byteorder, plain=self.plain, lpm=lpm
        )

    @property
    def _byteorder(self) -> ByteOrder:
        return "big" if self.target.info().big_endian else "little"

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

    @property
    def in_bulk(self) -> bool:
        """Whether `arrays` and `json_lines` show entries as `rows` does: neither keys nor
        values are things of the target."""
        from bpfd.v1 import common_pb2

        stacks = self.info.type == common_pb2.MAP_TYPE_STACK_TRACE and not self.plain
        return not (self._named_keys or self._refers or stacks)

    @property
    def is_stacks(self) -> bool:
        """Whether values are shown as lists of symbols."""
        return self._symbols is not None

    @property
    def type_names(self) -> tuple[str, str]:
        """Types of keys and values, in C's words or as what they are."""
        from bpfctl import map_names

        words = {"pid": "process", "path": "file", "device": "interface", "cpu": "queue"}
        key, value = map_names.key_kind(self.info), map_names.value_kind(self.info)
        return (
            words.get(key, key) or self.key.type_name,
            words.get(value, value) or self.value.type_name,
        )

    @cached_property
    def _named_keys(self) -> str:
        from bpfctl import map_names

        return map_names.key_kind(self.info)

    @cached_property
    def _refers(self) -> str:
        from bpfctl import map_names

        return map_names.value_kind(self.info)

    def rows(self, *, per_cpu: bool = False) -> Iterator[dict[str, Any]]:
        """Every entry as {"key": ..., "value": ...}, typed.

        The values of all CPUs are combined (numbers are added), or with `per_cpu` a list.
        Where a key is a process or socket, or the value has the id of a program or map, a
        "name" comes along. Stacks are lists of symbols, see `bpfctl.symbols.stacks`.
        """
        names = self.value_names()
        for chunk in self.chunks():
            if not chunk.count:
                continue
            keys, values = self._typed(chunk, per_cpu)
            for index, (key, value) in enumerate(zip(keys, values, strict=True)):
                row = {"key": key, "value": value}
                if chunk.names:
                    row["name"] = chunk.names[index]
                elif names is not None:
                    row["name"] = names(value)
                yield row

    @cached_property
    def _symbols(self) -> StackSymbols | None:
        """Reads stacks; None: the values are none, or wanted as numbers."""
        from bpfd.v1 import common_pb2

        if self.info.type != common_pb2.MAP_TYPE_STACK_TRACE or self.plain:
            return None
        from bpfctl.symbols.stacks import StackSymbols

        return StackSymbols(
            self.target, self.stack_pid, build_ids=bool(self.info.flags & 1 << 5)
        )

    def value_names(self) -> Callable[[Any], str] | None:
        """Names of the programs or maps whose ids values hold."""
        if self._refers not in ("program", "map", "device", "cpu"):
            return None
        if self._refers != "map" and self.info.value_size < (
            4 if self._refers == "program" else 8
        ):
            return None
        from bpfctl.map_names import id_in

        known: dict[int, str] = {}
        listed = (
            self.target.maps(owners=False) if self._refers == "map" else self.target.programs()
        )
        for each in listed:
            member = getattr(each, "member", "") or each.name
            known[each.id] = f"{each.object}/{member}" if each.object else member
        return lambda value: known.get(id_in(value, self._refers), "")

    def _typed(self, chunk: DumpChunk, per_cpu: bool) -> tuple[list[Any], list[Any]]:
        if chunk.key_refs:
            from bpfctl.map_names import key_text

            named: list[Any] = [key_text(ref) for ref in chunk.key_refs]
            return named, self.decoded(chunk.values, chunk.count, per_cpu)
        if chunk.count > _FEW and (self.in_bulk or self._refers in ("program", "map")):
            from bpfctl.btf import array

            keys, values = self._arrays(chunk)
            total = self.per_cpu and not per_cpu
            return array.rows(keys, self.key), array.rows(values, self.value, total=total)
        size = self.key.size
        raw_keys = (chunk.keys[i * size : (i + 1) * size] for i in range(chunk.count))
        decoded = [self.key.decode(raw) for raw in raw_keys]
        return decoded, self.decoded(chunk.values, chunk.count, per_cpu)

    def decoded(self, values: bytes | memoryview, count: int, per_cpu: bool) -> list[Any]:
        """`count` values that lie back to back; see `rows`."""
        size = len(values) // count if count else 0
        return [self._decode(values[i * size : (i + 1) * size], per_cpu) for i in range(count)]

    def _decode(self, raw: bytes | memoryview, per_cpu: bool) -> Any:
        from bpfctl import map_names

        if self._symbols is not None:
            return self._symbols.frames(bytes(raw))
        if self._refers in ("device", "cpu") and self.info.value_size == 8:
            return map_names.parts_of(bytes(raw), self._refers, self._byteorder)
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
        request = self._lookup_request()
        self._set_key(request, key)
        answer = self._lookup(request)
        if answer.found != b"\1":
            raise NotFound("key", self.key_text(key), hint=f"in {self.name}")
        return self._decode(answer.values, per_cpu)

    def key_text(self, key: object) -> str:
        """A key as one types it."""
        from bpfctl import map_names

        ref = map_names.key_ref(self.info, key)
        if ref is not None:
            return map_names.key_text(ref)
        return self.key.format(self.key.decode(self.key.encode(key, "key")))

    def shown_key(self, key: object) -> Any:
        """A key as rows show it."""
        from bpfctl import map_names

        ref = map_names.key_ref(self.info, key)
        if ref is not None:
            return map_names.key_text(ref)
        return self.key.decode(self.key.encode(key, "key"))

    def _set_key(self, request: _WithKeys, key: object) -> None:
        from bpfctl import map_names

        ref = map_names.key_ref(self.info, key)
        if ref is not None:
            request.key_refs.append(ref)
        else:
            request.keys += self.key.encode(key, "key")

    def pop(self, count: int = 1) -> list[Any]:
        """Take up to `count` values out of a queue or stack."""
        return self._values(self._lookup(self._lookup_request(pop=count, delete=True)))

    def peek(self) -> Any:
        """The next value of a queue or stack, which stays there; raises NotFound."""
        found = self._values(self._lookup(self._lookup_request()))
        if not found:
            raise NotFound("value", "next", hint=f"{self.name} is empty")
        return found[0]

    def contains(self, values: Sequence[object]) -> list[bool]:
        """Whether a bloom filter may have each value; False: surely not."""
        raw = b"".join(self.value.encode(value, "value") for value in values)
        return [bool(each) for each in self._lookup(self._lookup_request(values=raw)).found]

    def _values(self, answer: maps_pb2.LookupResponse) -> list[Any]:
        size = answer.value_stride or self.value.size
        data = answer.values
        return [self.value.decode(data[at : at + size]) for at in range(0, len(data), size)]

    def _lookup_request(
        self, *, pop: int = 0, delete: bool = False, values: bytes = b""
    ) -> maps_pb2.LookupRequest:
        from bpfd.v1 import maps_pb2

        return maps_pb2.LookupRequest(map=self.ref, pop=pop, delete=delete, values=values)

    def _lookup(self, request: maps_pb2.LookupRequest) -> maps_pb2.LookupResponse:
        rpc = self.target.rpc
        return rpc.call(rpc.maps.Lookup, request, "Maps.Lookup")

    def watch(
        self, keys: Iterable[object] = (), *, interval: float = 1.0, per_cpu: bool = False
    ) -> Watch:
        """What is there, then what changes, as it is seen every `interval` seconds.

        Of all keys, or of some; a context manager to iterate over.
        """
        from bpfctl.map_watch import Watch
        from bpfd.v1 import maps_pb2

        request = maps_pb2.WatchRequest(map=self.ref)
        request.interval.FromNanoseconds(int(interval * 1e9))
        for key in keys:
            self._set_key(request, key)
        return Watch(self, request, per_cpu=per_cpu)
