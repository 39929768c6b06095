# SPDX-License-Identifier: Apache-2.0
"""Types of arguments and of what they point to, alike for BTF, DWARF and tracepoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bpfctl.btf import Btf

Shape = Literal[
    "int", "bool", "char", "enum", "float", "pointer", "struct", "array", "void", "unknown"
]

_NETWORK = {"__be16": 2, "__be32": 4, "__be64": 8}
_MAX_NESTED = 16


@dataclass(frozen=True)
class CType:
    """A type, as far as reading values of it goes; the base of those that know more."""

    shape: Shape
    size: int = 0
    """Bytes; 0: unknown or none."""
    signed: bool = False
    text: str = ""
    """As C writes it."""
    network: bool = False
    """In network byte order."""
    enum: str = ""
    values: Mapping[str, int] = field(default_factory=dict)
    """Of an enum."""
    tag: str = ""
    """Of a struct behind all typedefs: "struct sock"; empty: it has no name."""

    opaque: bool = False
    """A char * that is shown as an address all the same."""

    def target(self) -> CType | None:
        """What a pointer points to, or an array's elements; None: unknown."""
        return None

    def member(self, name: str) -> MemberOf | None:
        """A member of a struct, those of anonymous structs in it too."""
        return None

    def names(self) -> Iterator[str]:
        """Of members."""
        return iter(())

    @property
    def scalar(self) -> bool:
        """Whether it is a number of at most 8 bytes."""
        return self.shape in ("int", "bool", "char", "enum", "pointer") and self.size <= 8

    @property
    def points_to_text(self) -> bool:
        """Whether it is a char *."""
        pointed = self.target() if self.shape == "pointer" else None
        return pointed is not None and pointed.shape == "char" and not self.opaque


@dataclass(frozen=True)
class MemberOf:
    """A member of a struct."""

    name: str
    type: CType
    offset: int
    """Bytes from the start of the struct that was asked; of a bit field, of its word."""
    bits: int = 0
    """Width of a bit field; 0: none."""


@dataclass(frozen=True)
class PointerTo(CType):
    """A pointer to a known type."""

    pointed: CType | None = None

    def target(self) -> CType | None:
        return self.pointed


CHAR = CType("char", 1, True, "char")


def integer(size: int, signed: bool = False, text: str = "") -> CType:
    """An integer of `size` bytes."""
    return CType("int", size, signed, text or f"__{'s' if signed else 'u'}{8 * size}")


def text_pointer(size: int) -> CType:
    """A const char * of `size` bytes."""
    return PointerTo("pointer", size, False, "const char *", pointed=CHAR)


@dataclass(frozen=True)
class BtfType(CType):
    """A type of a BTF."""

    btf: Btf | None = None
    id: int = 0

    def target(self) -> CType | None:
        from bpfctl.btf import kinds

        assert self.btf is not None
        found = self.btf.resolve(self.id)
        if isinstance(found, kinds.Array):
            return of_btf(self.btf, found.element)
        if isinstance(found, kinds.Reference) and found.target:
            return of_btf(self.btf, found.target)
        return None

    def member(self, name: str) -> MemberOf | None:
        return self._member(self.id, name, 0, 0)

    def _member(self, type_id: int, name: str, base: int, depth: int) -> MemberOf | None:
        from bpfctl.btf import kinds

        assert self.btf is not None
        found = self.btf.resolve(type_id)
        if not isinstance(found, kinds.Composite) or depth > _MAX_NESTED:
            return None
        for member in found.members:
            at = base + member.bit_offset // 8
            if member.name == name:
                return MemberOf(name, of_btf(self.btf, member.type), at, member.bits)
            if not member.name:
                inner = self._member(member.type, name, at, depth + 1)
                if inner is not None:
                    return inner
        return None

    def names(self) -> Iterator[str]:
        yield from self._names(self.id, 0)

    def _names(self, type_id: int, depth: int) -> Iterator[str]:
        from bpfctl.btf import kinds

        assert self.btf is not None
        found = self.btf.resolve(type_id)
        if isinstance(found, kinds.Composite) and depth <= _MAX_NESTED:
            for member in found.members:
                if member.name:
                    yield member.name
                else:
                    yield from self._names(member.type, depth + 1)


def of_btf(btf: Btf, type_id: int) -> BtfType:
    """The type of a BTF; raises BtfError for a damaged one."""
    from bpfctl.btf import kinds
    from bpfctl.btf.kinds import IntEncoding, Kind

    chain = list(btf.chain(type_id))
    base = chain[-1]
    text = btf.type_name(type_id)
    names = {each.name for each in chain if each.kind is Kind.TYPEDEF}
    shape: Shape = "unknown"
    size, signed, enum, tag = btf.size(type_id), False, "", ""
    values: dict[str, int] = {}
    if isinstance(base, kinds.Int):
        signed = base.signed
        plain_char = size == 1 and base.name == "char"
        shape = "bool" if base.encoding & IntEncoding.BOOL else "char" if plain_char else "int"
    elif isinstance(base, kinds.Enum):
        shape, signed, enum, values = "enum", base.signed, base.name, dict(base.values)
    elif isinstance(base, kinds.Float):
        shape = "float"
    elif isinstance(base, kinds.Composite):
        shape, tag = "struct", f"{base.keyword} {base.name}" if base.name else ""
    elif isinstance(base, kinds.Forward):
        tag = f"{base.keyword} {base.name}"
    elif isinstance(base, kinds.Array):
        shape = "array"
    elif base.kind is Kind.PTR:
        shape = "pointer"
    elif base.kind is Kind.VOID:
        shape = "void"
    network = any(size == _NETWORK[name] for name in names & _NETWORK.keys())
    return BtfType(
        shape, size, signed, text, network, enum, values, tag, False, btf=btf, id=type_id
    )
