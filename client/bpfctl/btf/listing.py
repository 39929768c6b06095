# SPDX-License-Identifier: Apache-2.0
"""Types of a BTF blob one by one, as rows and as lines, as `bpftool btf dump` has them.

Rows are made of the words themselves, not of `bpfctl.btf.kinds`: a kernel has 130,000 types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from bpfctl.btf.kinds import Kind
from bpfctl.btf.parse import TypeTable

Row = dict[str, Any]
Make = Callable[[Callable[[int], str], int, int, list[int]], Row]
"""(string of an offset, info word, size or type word, words of the list) -> fields."""

_ENCODINGS = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}
_LINKAGES = {0: "static", 1: "global", 2: "extern"}


def rows(btf: TypeTable, ids: Iterable[int] | None = None) -> Iterator[Row]:
    """Types by id (None: those of this blob, not of its base), with bpftool's field names."""
    known: dict[int, str] = {}

    def text(offset: int) -> str:
        found = known.get(offset)
        if found is None:
            found = known[offset] = btf.string(offset)
        return found

    names = {kind: kind.name for kind in Kind}
    for type_id in btf.own_ids() if ids is None else ids:
        name, info, size, rest = btf.words_of(type_id)
        kind = Kind(info >> 24 & 0x1F)
        row: Row = {"id": type_id, "kind": names[kind], "name": text(name) or "(anon)"}
        row.update(_MAKE[kind](text, info, size, rest))
        yield row


def lines(found: Iterable[Row]) -> Iterator[str]:
    """Rows as bpftool's text: `[1] INT 'int' size=4 ...`, members below with a tab."""
    for row in found:
        below: list[Row] = []
        parts = []
        for field, value in row.items():
            if isinstance(value, list):
                below = value
            elif field not in ("id", "kind", "name"):
                parts.append(f"{field}={value}")
        yield f"[{row['id']}] {row['kind']} '{row['name']}' {' '.join(parts)}".rstrip()
        for entry in below:
            yield _entry(entry)


def _entry(entry: Row) -> str:
    """A member, enumerator, parameter or variable."""
    if "name" not in entry:
        return "\t" + " ".join(f"{field}={value}" for field, value in entry.items())
    if "val" in entry:
        return f"\t'{entry['name']}' val={entry['val']}"
    rest = " ".join(f"{field}={value}" for field, value in entry.items() if field != "name")
    return f"\t'{entry['name']}' {rest}"


def _nothing(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    return {}


def _int(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    word = rest[0]
    encoding = word >> 24 & 0xF
    return {
        "size": size,
        "bits_offset": word >> 16 & 0xFF,
        "nr_bits": word & 0xFF,
        "encoding": _ENCODINGS.get(encoding, "UNKN"),
    }


def _reference(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    return {"type_id": size}


def _array(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    return {"type_id": rest[0], "index_type_id": rest[1], "nr_elems": rest[2]}


def _composite(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    members: list[Row] = []
    for at in range(0, len(rest), 3):
        member: Row = {
            "name": text(rest[at]) or "(anon)",
            "type_id": rest[at + 1],
            "bits_offset": rest[at + 2],
        }
        if info >> 31:
            member["bits_offset"] = rest[at + 2] & 0xFFFFFF
            if rest[at + 2] >> 24:
                member["bitfield_size"] = rest[at + 2] >> 24
        members.append(member)
    return {"size": size, "vlen": info & 0xFFFF, "members": members}


def _enum(wide: bool, text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    signed = bool(info >> 31)
    bits, step = (64, 3) if wide else (32, 2)
    values = []
    for at in range(0, len(rest), step):
        number = rest[at + 1] | (rest[at + 2] << 32 if wide else 0)
        if signed and number >> bits - 1:
            number -= 1 << bits
        values.append({"name": text(rest[at]) or "(anon)", "val": number})
    encoding = "SIGNED" if signed else "UNSIGNED"
    return {"encoding": encoding, "size": size, "vlen": info & 0xFFFF, "values": values}


def _forward(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    return {"fwd_kind": "union" if info >> 31 else "struct"}


def _function(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    return {"type_id": size, "linkage": _LINKAGES.get(info & 0xFFFF, "(unknown)")}


def _prototype(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    parameters = [
        {"name": text(rest[at]) or "(anon)", "type_id": rest[at + 1]}
        for at in range(0, len(rest), 2)
    ]
    return {"ret_type_id": size, "vlen": info & 0xFFFF, "params": parameters}


def _variable(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    return {"type_id": size, "linkage": _LINKAGES.get(rest[0], "(unknown)")}


def _section(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    variables = [
        {"type_id": rest[at], "offset": rest[at + 1], "size": rest[at + 2]}
        for at in range(0, len(rest), 3)
    ]
    return {"size": size, "vlen": info & 0xFFFF, "vars": variables}


def _float(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    return {"size": size}


def _tag(text: Callable[[int], str], info: int, size: int, rest: list[int]) -> Row:
    component = rest[0] - (1 << 32) if rest[0] >> 31 else rest[0]
    return {"type_id": size, "component_idx": component}


_MAKE: dict[Kind, Make] = {
    Kind.VOID: _nothing,
    Kind.INT: _int,
    Kind.PTR: _reference,
    Kind.ARRAY: _array,
    Kind.STRUCT: _composite,
    Kind.UNION: _composite,
    Kind.ENUM: partial(_enum, False),
    Kind.FWD: _forward,
    Kind.TYPEDEF: _reference,
    Kind.VOLATILE: _reference,
    Kind.CONST: _reference,
    Kind.RESTRICT: _reference,
    Kind.FUNC: _function,
    Kind.FUNC_PROTO: _prototype,
    Kind.VAR: _variable,
    Kind.DATASEC: _section,
    Kind.FLOAT: _float,
    Kind.DECL_TAG: _tag,
    Kind.TYPE_TAG: _reference,
    Kind.ENUM64: partial(_enum, True),
}
