# SPDX-License-Identifier: Apache-2.0
"""BTF of several programs in one: type ids and string offsets shifted, nothing interpreted.

Pure. The format is that of Documentation/bpf/btf.rst of the kernel: a header, types numbered
from 1 in their order, strings. Id 0 is void and offset 0 the empty string in every one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC, VERSION = 0xEB9F, 1
HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")

(INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT) = range(1, 12)
(FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64) = range(12, 20)

STATIC = 0
"""Linkage of a function: verified where it is called."""

_REFERS = {PTR, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DECL_TAG, TYPE_TAG}
"""Kinds whose third word is a type, not a size."""

_FIXED = {INT: "-", ARRAY: "tt-", VAR: "-", DECL_TAG: "-"}
_EACH = {
    STRUCT: "st-",
    UNION: "st-",
    ENUM: "s-",
    ENUM64: "s--",
    FUNC_PROTO: "st",
    DATASEC: "t--",
}
"""What follows a type, once or for each of its `vlen` elements: t type id, s string offset,
- another word."""


def kind_of(info: int) -> int:
    """The kind in a type's second word."""
    return info >> 24 & 0x1F


def _tail(info: int) -> str:
    kind = kind_of(info)
    return _FIXED.get(kind, "") + _EACH.get(kind, "") * (info & 0xFFFF)


@dataclass(frozen=True)
class Type:
    """One type as it stands in the raw bytes."""

    number: int
    name: str
    info: int
    third: int
    """A size or a type id."""
    words: tuple[int, ...]
    """What follows."""


def parse(data: bytes) -> Iterator[Type]:
    """Every type in its order. Raises ValueError for what is not whole BTF."""
    types, strings = sections(data)
    for number, at, info in _walk(types):
        name, _, third = _TYPE.unpack_from(types, at)
        end = strings.find(b"\0", name)
        words = struct.unpack_from(f"={len(_tail(info))}I", types, at + 12)
        yield Type(number, strings[name:end].decode(errors="replace"), info, third, words)


def sections(data: bytes) -> tuple[bytes, bytes]:
    """(types, strings) of raw BTF. Raises ValueError."""
    if len(data) < HEADER.size:
        raise ValueError("shorter than a header")
    magic, version, _, header, types_at, types, strings_at, strings = HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION) or header + strings_at + strings > len(data):
        raise ValueError("not whole BTF of this byte order")
    body = data[header:]
    return body[types_at : types_at + types], body[strings_at : strings_at + strings]


def _walk(types: bytes) -> Iterator[tuple[int, int, int]]:
    """(id, offset, info) of each type."""
    at, number = 0, 0
    while at < len(types):
        number += 1
        try:
            (info,) = struct.unpack_from("=I", types, at + 4)
        except struct.error:
            raise ValueError(f"type {number} is cut") from None
        if not INT <= kind_of(info) <= ENUM64:
            raise ValueError(f"type {number} is of kind {kind_of(info)}, which is not known")
        yield number, at, info
        at += 12 + 4 * len(_tail(info))
    if at != len(types):
        raise ValueError(f"type {number} is cut")


@dataclass(frozen=True)
class Shift:
    """What became of the ids and offsets of BTF that was added."""

    types: int
    strings: int

    def type(self, number: int) -> int:
        """A type id of before, now."""
        return number + self.types if number else 0

    def string(self, offset: int) -> int:
        """A string offset of before, now."""
        return offset + self.strings if offset else 0


class Merged:
    """BTF that grows. What is added first keeps its ids and offsets."""

    def __init__(self) -> None:
        self._types = bytearray()
        self._places: list[int] = []
        self._strings = bytearray(b"\0")
        self._offsets: dict[str, int] = {"": 0}
        self._shifts: dict[bytes, Shift] = {}

    def add(self, data: bytes) -> Shift:
        """Puts raw BTF behind what is there; the same once more is there already.

        Raises ValueError for what is not BTF.
        """
        if (known := self._shifts.get(data)) is not None:
            return known
        types, strings = sections(data)
        shift = Shift(len(self._places), len(self._strings) if self._places else 0)
        shifted = bytearray(types)
        start = len(self._types)
        for _, at, info in _walk(types):
            self._places.append(start + at)
            _shift_type(shifted, at, info, shift)
        self._types += shifted
        if shift.strings:
            self._strings += strings
        else:
            self._strings = bytearray(strings)
            self._offsets = {"": 0}
        self._shifts[data] = shift
        return shift

    def string(self, text: str) -> int:
        """The offset of a string."""
        if text not in self._offsets:
            self._offsets[text] = len(self._strings)
            self._strings += text.encode() + b"\0"
        return self._offsets[text]

    def type(
        self, kind: int, name: str = "", third: int = 0, *words: int, vlen: int = 0
    ) -> int:
        """The id of a new type; `words` follow it as its kind has it."""
        self._places.append(len(self._types))
        self._types += _TYPE.pack(self.string(name), kind << 24 | vlen, third)
        self._types += struct.pack(f"={len(words)}I", *words)
        return len(self._places)

    def set_linkage(self, function: int, linkage: int) -> None:
        """Of a function. Raises ValueError when the id is none's."""
        at = self._places[function - 1] + 4
        (info,) = struct.unpack_from("=I", self._types, at)
        if kind_of(info) != FUNC:
            raise ValueError(f"type {function} is no function")
        struct.pack_into("=I", self._types, at, info & ~0xFFFF | linkage)

    def data(self) -> bytes:
        """As raw BTF of this byte order."""
        types, strings = bytes(self._types), bytes(self._strings)
        header = HEADER.pack(
            *(MAGIC, VERSION, 0, HEADER.size),
            *(0, len(types), len(types), len(strings)),
        )
        return header + types + strings


def _shift_type(types: bytearray, at: int, info: int, shift: Shift) -> None:
    name, _, third = _TYPE.unpack_from(types, at)
    if kind_of(info) in _REFERS:
        third = shift.type(third)
    _TYPE.pack_into(types, at, shift.string(name), info, third)
    for index, what in enumerate(_tail(info)):
        place = at + 12 + 4 * index
        if what != "-":
            (word,) = struct.unpack_from("=I", types, place)
            moved = shift.type(word) if what == "t" else shift.string(word)
            struct.pack_into("=I", types, place, moved)
