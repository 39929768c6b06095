# SPDX-License-Identifier: Apache-2.0
"""BTF as bytes -> types, made when they are asked for.

Indexing walks the type section once (150,000 types of a kernel take some 25 ms); names,
members and tags are read on access. Both byte orders, and split BTF over a base (kernel
modules). Format: Documentation/bpf/btf.rst of the kernel.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Literal, Self

from bpfctl.btf import kinds
from bpfctl.btf.errors import BtfError
from bpfctl.btf.kinds import Kind, Linkage

ByteOrder = Literal["little", "big"]

MAGIC = 0xEB9F
HEADER_BYTES = 24
# Words of a type without its list, and of one entry of the list, by kind.
_FIXED = (3, 4, 3, 6, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3, 4, 3, 3)
_ENTRY = (0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3)
# The kernel's own bound for chains of references is 32 (MAX_RESOLVE_DEPTH).
_MAX_CHAIN = 64
_MODIFIERS = frozenset((Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))


class TypeTable:
    """The types of one BTF blob and of its base. Type 0 is void."""

    def __init__(
        self, words: memoryview, strings: bytes, byteorder: ByteOrder, base: Self | None
    ) -> None:
        """Use `parse()`."""
        self.byteorder: ByteOrder = byteorder
        self.base = base
        self._words = words
        self._strings = strings
        self._first_id = len(base) if base else 1
        self._first_string = base.string_bytes if base else 0
        self._places = _index(words)
        self._types: dict[int, kinds.Type] = {}
        self._by_name: dict[int, list[int]] | None = None

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview, base: Self | None = None) -> Self:
        """Reads the header and indexes the types.

        `base` is the BTF that a split one continues, of the kernel for that of a module.
        Raises BtfError for what is not BTF, is damaged or cut short.
        """
        raw = bytes(data)
        byteorder = _byte_order(raw)
        words = [
            int.from_bytes(raw[at : at + 4], byteorder) for at in range(4, HEADER_BYTES, 4)
        ]
        header, types_at, types_size, strings_at, strings_size = words
        if raw[2] != 1:
            raise BtfError(f"BTF of version {raw[2]}; version 1 is known")
        if header < HEADER_BYTES:
            raise BtfError(f"the BTF header says it has {header} bytes; {HEADER_BYTES} are due")
        for what, at, size in (
            ("types", types_at, types_size),
            ("strings", strings_at, strings_size),
        ):
            if header + at + size > len(raw):
                raise BtfError(
                    f"BTF is cut short: its {what} end at byte {header + at + size}, "
                    f"there are {len(raw)}"
                )
        if types_size % 4:
            raise BtfError(f"the type section of the BTF has {types_size} bytes, not words")
        if base and base.byteorder != byteorder:
            raise BtfError("BTF and its base are of different byte order")
        strings = raw[header + strings_at : header + strings_at + strings_size]
        if strings and strings[-1]:
            raise BtfError("the strings of the BTF do not end with a zero byte")
        section = raw[header + types_at : header + types_at + types_size]
        if byteorder != sys.byteorder:
            swapped = array("I", section)
            swapped.byteswap()
            section = swapped.tobytes()
        return cls(memoryview(section).cast("I"), strings, byteorder, base)

    def __len__(self) -> int:
        """Number of types, void and the base's included: ids are below it."""
        return self._first_id + len(self._places)

    def __repr__(self) -> str:
        return f"<BTF of {len(self) - 1} types, {self.byteorder} endian>"

    @property
    def string_bytes(self) -> int:
        """Length of the strings, the base's included."""
        return self._first_string + len(self._strings)

    def string(self, offset: int) -> str:
        """The string at an offset of the string section, as .BTF.ext refers to it, too."""
        if self.base and offset < self._first_string:
            return self.base.string(offset)
        start = offset - self._first_string
        if start >= len(self._strings):
            if not offset:
                return ""
            raise BtfError(
                f"BTF refers to string {offset}; there are {self.string_bytes} bytes"
            )
        end = self._strings.index(0, start)
        return self._strings[start:end].decode(errors="backslashreplace")

    def type(self, type_id: int) -> kinds.Type:
        """The type of an id; BtfError when there is none."""
        found = self._types.get(type_id)
        if found is None:
            found = self._make(type_id)
            self._types[type_id] = found
        return found

    def types(self) -> Iterator[kinds.Type]:
        """Every type in the order of ids, the base's first, without void."""
        return map(self.type, range(1, len(self)))

    def find(self, name: str, kind: Kind | None = None) -> kinds.Type | None:
        """The first type of that name, and of that kind if one is given."""
        return next(self.find_all(name, kind), None)

    def find_all(self, name: str, kind: Kind | None = None) -> Iterator[kinds.Type]:
        """Every type of that name, in the order of ids."""
        if self.base:
            yield from self.base.find_all(name, kind)
        names = self._names()
        ids: list[int] = []
        for offset in self._string_offsets(name):
            ids.extend(names.get(offset, ()))
        for type_id in sorted(ids):
            found = self.type(type_id)
            if kind is None or found.kind is kind:
                yield found

    def of_kind(self, kind: Kind) -> Iterator[kinds.Type]:
        """Every type of a kind; the others are not made."""
        if self.base:
            yield from self.base.of_kind(kind)
        words = self._words
        for type_id, at in enumerate(self._places, self._first_id):
            if words[at + 1] >> 24 & 0x1F == kind:
                yield self.type(type_id)

    def chain(self, type_id: int) -> Iterator[kinds.Type]:
        """The type, then what it is a typedef, const, volatile, restrict or tag of."""
        for _ in range(_MAX_CHAIN):
            found = self.type(type_id)
            yield found
            if found.kind not in _MODIFIERS:
                return
            assert isinstance(found, kinds.Reference)
            type_id = found.target
        raise BtfError(f"type {type_id} of the BTF is a chain without an end")

    def resolve(self, type_id: int) -> kinds.Type:
        """The type without typedefs, qualifiers and tags."""
        found = self.type(type_id)
        return list(self.chain(type_id))[-1] if found.kind in _MODIFIERS else found

    def own_ids(self) -> range:
        """Ids of the types of this blob, without the base's."""
        return range(self._first_id, len(self))

    def words_of(self, type_id: int) -> tuple[int, int, int, list[int]]:
        """A type as it stands in the blob: name, info, size or type, and the words behind.

        Raises BtfError for type 0 and when there is none.
        """
        if self.base and type_id < self._first_id:
            return self.base.words_of(type_id)
        if not self._first_id <= type_id < len(self):
            raise BtfError(f"there is no type {type_id} in this BTF; it has {len(self)}")
        at = self._places[type_id - self._first_id]
        words = self._words
        info = words[at + 1]
        kind = info >> 24 & 0x1F
        end = at + _FIXED[kind] + (info & 0xFFFF) * _ENTRY[kind]
        return words[at], info, words[at + 2], words[at + 3 : end].tolist()

    def named(self, pattern: str, kinds_of: frozenset[Kind] = frozenset()) -> Iterator[int]:
        """Ids of this blob's types whose name matches a glob, and of these kinds (empty: any).

        The types are not made; those without a name match "*" alone.
        """
        matches = re.compile(fnmatch.translate(pattern)).match
        words = self._words
        numbers = {int(kind) for kind in kinds_of}
        known: dict[int, bool] = {}
        for type_id, at in enumerate(self._places, self._first_id):
            if numbers and words[at + 1] >> 24 & 0x1F not in numbers:
                continue
            name = words[at]
            found = known.get(name)
            if found is None:
                found = known[name] = matches(self.string(name)) is not None
            if found:
                yield type_id

    def _make(self, type_id: int) -> kinds.Type:
        if type_id < self._first_id:
            if self.base:
                return self.base.type(type_id)
            if type_id == 0:
                return kinds.Type(0, Kind.VOID, "")
        if not 0 <= type_id < len(self):
            raise BtfError(f"there is no type {type_id} in this BTF; it has {len(self)}")
        return self._decode(type_id, self._places[type_id - self._first_id])

    def _decode(self, type_id: int, at: int) -> kinds.Type:
        words = self._words
        name = self.string(words[at])
        info, size = words[at + 1], words[at + 2]
        kind, flag, count = Kind(info >> 24 & 0x1F), info >> 31, info & 0xFFFF
        rest = words[at + 3 : at + _FIXED[kind] + count * _ENTRY[kind]].tolist()
        if kind in _MODIFIERS or kind is Kind.PTR:
            return kinds.Reference(type_id, kind, name, size)
        if kind in (Kind.STRUCT, Kind.UNION):
            members = tuple(
                kinds.Member(self.string(text), member, offset, 0)
                if not flag
                else kinds.Member(self.string(text), member, offset & 0xFFFFFF, offset >> 24)
                for text, member, offset in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
            )
            return kinds.Composite(type_id, kind, name, size, members)
        if kind in (Kind.ENUM, Kind.ENUM64):
            return self._enum(type_id, kind, name, size, bool(flag), rest)
        if kind is Kind.INT:
            encoding = kinds.IntEncoding(rest[0] >> 24 & 0x7)
            return kinds.Int(
                type_id, kind, name, size, encoding, rest[0] & 0xFF, rest[0] >> 16 & 0xFF
            )
        if kind is Kind.FUNC_PROTO:
            parameters = tuple(
                (self.string(text), parameter)
                for text, parameter in zip(rest[::2], rest[1::2], strict=True)
            )
            return kinds.FunctionPrototype(type_id, kind, name, size, parameters)
        if kind is Kind.DATASEC:
            entries = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
            variables = tuple(kinds.SectionVariable(*entry) for entry in entries)
            return kinds.DataSection(type_id, kind, name, size, variables)
        simple: dict[Kind, Callable[[], kinds.Type]] = {
            Kind.ARRAY: lambda: kinds.Array(type_id, kind, name, *rest),
            Kind.FWD: lambda: kinds.Forward(type_id, kind, name, bool(flag)),
            Kind.FUNC: lambda: kinds.Function(type_id, kind, name, size, _linkage(count)),
            Kind.VAR: lambda: kinds.Variable(type_id, kind, name, size, _linkage(rest[0])),
            Kind.FLOAT: lambda: kinds.Float(type_id, kind, name, size),
            Kind.DECL_TAG: lambda: kinds.DeclTag(
                type_id, kind, name, size, _signed(rest[0], 32)
            ),
        }
        return simple[kind]()

    def _enum(
        self, type_id: int, kind: Kind, name: str, size: int, signed: bool, rest: list[int]
    ) -> kinds.Enum:
        if kind is Kind.ENUM:
            bits = 32
            pairs = list(zip(rest[::2], rest[1::2], strict=True))
        else:
            bits = 64
            triples = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
            pairs = [(text, low | high << 32) for text, low, high in triples]
        values = tuple(
            (self.string(text), _signed(value, bits) if signed else value)
            for text, value in pairs
        )
        return kinds.Enum(type_id, kind, name, size, signed, values)

    def _names(self) -> dict[int, list[int]]:
        if self._by_name is None:
            names: dict[int, list[int]] = {}
            words = self._words
            for type_id, at in enumerate(self._places, self._first_id):
                if words[at]:
                    names.setdefault(words[at], []).append(type_id)
            self._by_name = names
        return self._by_name

    def _string_offsets(self, name: str) -> Iterator[int]:
        """Where a name stands; it may also be the tail of a longer string."""
        layer: TypeTable | None = self
        wanted = name.encode() + b"\0"
        while layer is not None and name:
            at = layer._strings.find(wanted)
            while at >= 0:
                yield at + layer._first_string
                at = layer._strings.find(wanted, at + 1)
            layer = layer.base


def _byte_order(raw: bytes) -> ByteOrder:
    if len(raw) < HEADER_BYTES:
        raise BtfError(
            f"BTF is cut short: {len(raw)} bytes, the header alone has {HEADER_BYTES}"
        )
    if raw[:2] == MAGIC.to_bytes(2, "little"):
        return "little"
    if raw[:2] == MAGIC.to_bytes(2, "big"):
        return "big"
    raise BtfError(f"not BTF: it starts with {raw[:2].hex()}, not with the magic eb9f")


def _index(words: memoryview) -> array[int]:
    """Word offsets of the types."""
    places: list[int] = []
    append = places.append
    at, end = 0, len(words)
    try:
        while at < end:
            append(at)
            info = words[at + 1]
            kind = info >> 24 & 0x1F
            at += _FIXED[kind] + (info & 0xFFFF) * _ENTRY[kind]
    except IndexError:
        if at + 1 < end:
            raise BtfError(f"BTF has a type of the unknown kind {kind}") from None
        at = end + 1
    if at != end:
        raise BtfError(f"BTF is cut short inside type {len(places)}")
    return array("I", places)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def _linkage(number: int) -> Linkage:
    try:
        return Linkage(number)
    except ValueError:
        raise BtfError(
            f"BTF has a function or variable of the unknown linkage {number}"
        ) from None
