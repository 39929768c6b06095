# SPDX-License-Identifier: Apache-2.0
"""BTF written by hand: one method for each kind, each gives the id of the new type."""

from __future__ import annotations

from collections.abc import Sequence

from bpfctl.btf import Btf
from bpfctl.btf.kinds import IntEncoding, Kind
from bpfctl.btf.parse import ByteOrder

Members = Sequence[tuple[str, int, int] | tuple[str, int, int, int]]
"""(name, type, bit offset[, bits of a bit field])."""


class Blob:
    """Collects types; `first` is the id of the first one (behind those of a base)."""

    def __init__(self, order: ByteOrder = "little", first: int = 1, strings: int = 0) -> None:
        self.order: ByteOrder = order
        self._next = first
        self._base_strings = strings
        self._strings = bytearray(b"" if strings else b"\0")
        self._types = bytearray()

    def name(self, text: str) -> int:
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return self._base_strings + len(self._strings) - len(text.encode()) - 1

    def add(
        self,
        kind: Kind,
        name: str,
        size: int,
        rest: Sequence[int] = (),
        count: int = 0,
        flag: int = 0,
    ) -> int:
        info = flag << 31 | kind << 24 | count
        for number in (self.name(name), info, size, *rest):
            self._types += (number & 0xFFFFFFFF).to_bytes(4, self.order)
        self._next += 1
        return self._next - 1

    def integer(
        self,
        name: str,
        size: int,
        encoding: IntEncoding = IntEncoding.NONE,
        bits: int = 0,
        at: int = 0,
    ) -> int:
        return self.add(Kind.INT, name, size, [encoding << 24 | at << 16 | (bits or 8 * size)])

    def reference(self, kind: Kind, target: int, name: str = "") -> int:
        return self.add(kind, name, target)

    def pointer(self, target: int = 0) -> int:
        return self.reference(Kind.PTR, target)

    def typedef(self, name: str, target: int) -> int:
        return self.reference(Kind.TYPEDEF, target, name)

    def array(self, element: int, count: int) -> int:
        return self.add(Kind.ARRAY, "", 0, [element, element, count])

    def struct(self, name: str, size: int, members: Members, kind: Kind = Kind.STRUCT) -> int:
        flag = int(any(len(member) > 3 for member in members))
        rest: list[int] = []
        for member in members:
            bits = member[3] if len(member) > 3 else 0
            rest += [self.name(member[0]), member[1], bits << 24 | member[2]]
        return self.add(kind, name, size, rest, len(members), flag)

    def union(self, name: str, size: int, members: Members) -> int:
        return self.struct(name, size, members, Kind.UNION)

    def enum(self, name: str, size: int, values: dict[str, int], signed: bool = False) -> int:
        rest = [number for text, value in values.items() for number in (self.name(text), value)]
        return self.add(Kind.ENUM, name, size, rest, len(values), int(signed))

    def enum64(self, name: str, size: int, values: dict[str, int], signed: bool = False) -> int:
        rest: list[int] = []
        for text, value in values.items():
            rest += [self.name(text), value, value >> 32]
        return self.add(Kind.ENUM64, name, size, rest, len(values), int(signed))

    def variable(self, name: str, target: int, linkage: int = 1) -> int:
        return self.add(Kind.VAR, name, target, [linkage])

    def section(self, name: str, size: int, variables: Sequence[tuple[int, int, int]]) -> int:
        rest = [number for entry in variables for number in entry]
        return self.add(Kind.DATASEC, name, size, rest, len(variables))

    def prototype(self, returns: int, parameters: Sequence[tuple[str, int]]) -> int:
        rest = [number for text, kind in parameters for number in (self.name(text), kind)]
        return self.add(Kind.FUNC_PROTO, "", returns, rest, len(parameters))

    def tag(self, text: str, target: int, component: int = -1) -> int:
        return self.add(Kind.DECL_TAG, text, target, [component])

    def raw(self) -> bytes:
        def word(number: int, size: int = 4) -> bytes:
            return number.to_bytes(size, self.order)

        types, strings = len(self._types), len(self._strings)
        header = word(0xEB9F, 2) + bytes([1, 0]) + word(24) + word(0) + word(types)
        return header + word(types) + word(strings) + self._types + self._strings

    def btf(self, base: Btf | None = None) -> Btf:
        return Btf.parse(self.raw(), base)
