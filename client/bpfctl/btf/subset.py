# SPDX-License-Identifier: Apache-2.0
"""Some types of a BTF blob with all that they need in C, as a blob of its own.

What only a pointer leads to needs no definition: it becomes a forward declaration. So
`struct task_struct` needs hundreds of types instead of all. A split blob and its base become
one.
"""

from __future__ import annotations

from collections.abc import Iterable

from bpfctl.btf import kinds
from bpfctl.btf.btf import Btf
from bpfctl.btf.kinds import Kind
from bpfctl.btf.parse import HEADER_BYTES, MAGIC

_WORD = 4
_ALIASES = frozenset((Kind.TYPEDEF, Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG))
_LONGS = ("long unsigned int", "unsigned long", "long int", "long")


def needed(btf: Btf, roots: Iterable[int]) -> dict[int, bool]:
    """Ids of the roots and of what they need; False: a forward declaration is enough.

    Only structs and unions with a name can be declared without definition.
    """
    found: dict[int, bool] = {}
    ahead = [(root, True) for root in roots]
    while ahead:
        type_id, whole = ahead.pop()
        if type_id == 0 or (found.get(type_id) is not None and (found[type_id] or not whole)):
            continue
        kind = btf.type(type_id)
        if isinstance(kind, kinds.Composite) and not kind.name:
            whole = True
        found[type_id] = whole
        ahead.extend(_next(kind, whole))
    return found


def _next(found: kinds.Type, whole: bool) -> list[tuple[int, bool]]:
    """(type, whether it has to be whole) that a type refers to."""
    match found:
        case kinds.Composite():
            return [(member.type, True) for member in found.members] if whole else []
        case kinds.Array():
            # Also behind a pointer: C has no arrays of what is not defined.
            return [(found.element, True), (found.index, True)]
        case kinds.Reference() if found.kind is Kind.PTR:
            return [(found.target, False)]
        case kinds.Reference():
            return [(found.target, whole)]
        case kinds.FunctionPrototype():
            return [(found.returns, False), *((each, False) for _, each in found.parameters)]
        case kinds.Function():
            return [(found.prototype, False)]
        case kinds.Variable():
            return [(found.type, True)]
        case kinds.DataSection():
            return [(entry.variable, True) for entry in found.variables]
        case kinds.DeclTag():
            return [(found.target, False)]
        case _:
            return []


def subset(btf: Btf, roots: Iterable[int]) -> bytes:
    """Raw BTF of types and what they need, in the order that they have in `btf`.

    `long` is always among them: readers tell the size of pointers by it.
    """
    wanted = list(roots)
    longs = [each.id for name in _LONGS if (each := btf.find(name, Kind.INT))]
    found = needed(btf, [*wanted, *longs[:1]])
    ids = {type_id: number for number, type_id in enumerate(sorted(found), 1)}
    ids[0] = 0
    strings = _Strings()
    words: list[int] = []
    for type_id in sorted(found):
        words += _encode(btf, type_id, found[type_id], ids, strings)
    order = btf.byteorder
    types = b"".join(word.to_bytes(_WORD, order) for word in words)
    head = (HEADER_BYTES, 0, len(types), len(types), len(strings.data))
    return b"".join(
        (
            MAGIC.to_bytes(2, order),
            bytes((1, 0)),
            *(word.to_bytes(_WORD, order) for word in head),
            types,
            strings.data,
        )
    )


class _Strings:
    """A string section in the making."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._places = {"": 0}

    def place(self, text: str) -> int:
        found = self._places.get(text)
        if found is None:
            found = self._places[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return found


def _encode(
    btf: Btf, type_id: int, whole: bool, ids: dict[int, int], strings: _Strings
) -> list[int]:
    """The words of a type with new ids and strings."""
    name, info, size, rest = btf.words_of(type_id)
    kind = Kind(info >> 24 & 0x1F)
    place = strings.place(btf.string(name))
    if not whole and kind in (Kind.STRUCT, Kind.UNION):
        flag = 1 << 31 if kind is Kind.UNION else 0
        return [place, flag | Kind.FWD << 24, 0]
    rest = list(rest)
    match kind:
        case Kind.STRUCT | Kind.UNION:
            for at in range(0, len(rest), 3):
                rest[at], rest[at + 1] = strings.place(btf.string(rest[at])), ids[rest[at + 1]]
        case Kind.ENUM | Kind.ENUM64:
            for at in range(0, len(rest), 2 if kind is Kind.ENUM else 3):
                rest[at] = strings.place(btf.string(rest[at]))
        case Kind.FUNC_PROTO:
            size = ids[size]
            for at in range(0, len(rest), 2):
                rest[at], rest[at + 1] = strings.place(btf.string(rest[at])), ids[rest[at + 1]]
        case Kind.ARRAY:
            rest[0], rest[1] = ids[rest[0]], ids[rest[1]]
        case Kind.DATASEC:
            for at in range(0, len(rest), 3):
                rest[at] = ids[rest[at]]
        case Kind.PTR | Kind.FUNC | Kind.VAR | Kind.DECL_TAG:
            size = ids[size]
        case _ if kind in _ALIASES:
            size = ids[size]
    return [place, info, size, *rest]
