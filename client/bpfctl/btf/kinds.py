# SPDX-License-Identifier: Apache-2.0
"""The kinds of BTF types (Documentation/bpf/btf.rst of the kernel) as plain records."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class Kind(IntEnum):
    """BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class IntEncoding(IntFlag):
    """BTF_INT_*."""

    NONE = 0
    SIGNED = 1
    CHAR = 2
    BOOL = 4


class Linkage(IntEnum):
    """BTF_FUNC_* of functions and BTF_VAR_* of variables."""

    STATIC = 0
    GLOBAL = 1
    EXTERN = 2


@dataclass(frozen=True, slots=True)
class Type:
    """What every type has; the name is empty where C has none.

    >>> Type(0, Kind.VOID, "").keyword
    ''
    """

    id: int
    kind: Kind
    name: str

    @property
    def keyword(self) -> str:
        """The C keyword before the name: struct, union, enum or nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class Int(Type):
    """An integer of `size` bytes; `bits` and `bit_offset` differ in old bit fields only."""

    size: int
    encoding: IntEncoding
    bits: int
    bit_offset: int

    @property
    def signed(self) -> bool:
        return bool(self.encoding & IntEncoding.SIGNED)


@dataclass(frozen=True, slots=True)
class Float(Type):
    """A floating point number of `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Reference(Type):
    """PTR, TYPEDEF, VOLATILE, CONST, RESTRICT and TYPE_TAG: one other type, 0 for void."""

    target: int


@dataclass(frozen=True, slots=True)
class Array(Type):
    """`count` elements back to back; `index` is the type of the index."""

    element: int
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union; offsets from the start of the composite, in bits.

    `bits` is the width of a bit field, 0 for every other member.
    """

    name: str
    type: int
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Composite(Type):
    """STRUCT and UNION."""

    size: int
    members: tuple[Member, ...]

    @property
    def keyword(self) -> str:
        return "struct" if self.kind is Kind.STRUCT else "union"


@dataclass(frozen=True, slots=True)
class Enum(Type):
    """ENUM and ENUM64: names and values in the order of the source."""

    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]

    @property
    def keyword(self) -> str:
        return "enum"


@dataclass(frozen=True, slots=True)
class Forward(Type):
    """A struct or union that is declared and not defined."""

    union: bool

    @property
    def keyword(self) -> str:
        return "union" if self.union else "struct"


@dataclass(frozen=True, slots=True)
class Function(Type):
    """FUNC; `prototype` is a FunctionPrototype."""

    prototype: int
    linkage: Linkage


@dataclass(frozen=True, slots=True)
class FunctionPrototype(Type):
    """FUNC_PROTO: parameters as (name, type); a last one of type 0 without a name is '...'."""

    returns: int
    parameters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Variable(Type):
    """VAR: a global or static variable."""

    type: int
    linkage: Linkage


@dataclass(frozen=True, slots=True)
class SectionVariable:
    """An entry of a DATASEC: a VAR, where it lies and how many bytes it takes."""

    variable: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class DataSection(Type):
    """DATASEC: the variables of an ELF section; `size` is 0 in what a compiler wrote."""

    size: int
    variables: tuple[SectionVariable, ...]


@dataclass(frozen=True, slots=True)
class DeclTag(Type):
    """btf_decl_tag("name") on `target`: on its member `component`, -1: on itself."""

    target: int
    component: int
