# SPDX-License-Identifier: Apache-2.0
"""CO-RE relocations as needs, and whether BTF of a kernel meets them.

The rules of matching are those of libbpf (`bpf_core_spec_match` of relo_core.c): a type by its
name without what follows "___", members by name, through anonymous structs and unions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.btf import kinds
from bpfctl.btf.kinds import Kind

from .needs import Need

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.elf import Function, ObjectFile
    from bpfctl.elf.debug import CoreRelocation

FIELD_EXISTS, TYPE_ID_LOCAL, TYPE_EXISTS, ENUM_EXISTS, ENUM_VALUE = 2, 6, 8, 10, 11
TYPE_MATCHES = 12
_OF_TYPES = (7, 8, 9, 12)
_ONLY_ASKS = (FIELD_EXISTS, TYPE_EXISTS, ENUM_EXISTS, TYPE_MATCHES)
"""Kinds (enum bpf_core_relo_kind) whose answer is 0 where the kernel has it not."""


@dataclass(frozen=True)
class CorePath:
    """What of the kernel's types is needed, by names."""

    kind: Kind
    """Of the type that the path starts at."""
    type: str
    """Its name, without "___" and what follows."""
    members: tuple[str, ...] = ()
    enumerator: str = ""

    def __str__(self) -> str:
        words = {Kind.STRUCT: "struct ", Kind.UNION: "union ", Kind.ENUM: "enum "}
        head = words.get(self.kind, "") + self.type
        return ".".join((head, *self.members, *filter(None, [self.enumerator])))


def needs(
    parsed: ObjectFile, btf: Btf | None, placed: Sequence[tuple[int, Function]]
) -> Iterator[Need]:
    """Those of a program with the functions that it calls; `btf` is the object's.

    Raises InvalidObject and BtfError.
    """
    if btf is None:
        return
    found: dict[tuple[str, CorePath], bool] = {}
    for relocation in _of(parsed, placed):
        if relocation.kind == TYPE_ID_LOCAL:
            continue
        path = _path(btf, relocation)
        if path is None:
            continue
        key = (_kind(relocation.kind), path)
        found[key] = found.get(key, False) or relocation.kind in _ONLY_ASKS
    if found:
        yield Need("kernel BTF", "types (CO-RE)", ("core", None))
    for (kind, path), optional in found.items():
        yield Need(kind, str(path), ("core", path), optional=optional)


def _of(parsed: ObjectFile, placed: Sequence[tuple[int, Function]]) -> Iterator[CoreRelocation]:
    for _, function in placed:
        end = function.start + function.instructions
        for relocation in parsed.core_relocations.get(function.section, ()):
            if function.start <= relocation.instruction < end:
                yield relocation


def _kind(relocation: int) -> str:
    if relocation in _OF_TYPES:
        return "type"
    return "enumerator" if relocation in (ENUM_EXISTS, ENUM_VALUE) else "field"


def _path(btf: Btf, relocation: CoreRelocation) -> CorePath | None:
    start = next(
        (each for each in btf.chain(relocation.type_id) if each.name and _is_start(each)), None
    )
    if start is None:
        return None
    kind = Kind.ENUM if start.kind is Kind.ENUM64 else start.kind
    name = _essential(start.name)
    steps = [int(step) for step in relocation.access.split(":") if step.isdigit()]
    plain = btf.resolve(start.id)
    if relocation.kind in _OF_TYPES:
        return CorePath(kind, name)
    if relocation.kind in (ENUM_EXISTS, ENUM_VALUE):
        if not isinstance(plain, kinds.Enum) or not steps or steps[0] >= len(plain.values):
            return None
        return CorePath(kind, name, enumerator=_essential(plain.values[steps[0]][0]))
    members: list[str] = []
    for step in steps[1:]:
        if isinstance(plain, kinds.Array):
            plain = btf.resolve(plain.element)
            continue
        if not isinstance(plain, kinds.Composite) or step >= len(plain.members):
            break
        member = plain.members[step]
        if member.name:
            members.append(member.name)
        plain = btf.resolve(member.type)
    return CorePath(kind, name, tuple(members))


def _is_start(found: kinds.Type) -> bool:
    return found.kind in (
        *(Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF, Kind.INT, Kind.FWD),
    )


def _essential(name: str) -> str:
    """bpf_core_essential_name_len(): "task_struct___old" is "task_struct"."""
    head, mark, _ = name.partition("___")
    return head if mark and head else name


def missing(btf: Btf, path: CorePath) -> str | None:
    """Why the kernel does not have it, in words; None: it has."""
    candidates = [
        found
        for found in btf.find_all(path.type)
        if (Kind.ENUM if found.kind is Kind.ENUM64 else found.kind) is path.kind
    ]
    if not candidates:
        return f"the kernel has no {CorePath(path.kind, path.type)}"
    reasons = [_lacks(btf, found, path) for found in candidates]
    return None if None in reasons else reasons[0]


def _lacks(btf: Btf, found: kinds.Type, path: CorePath) -> str | None:
    plain = btf.resolve(found.id)
    if path.enumerator:
        names = [name for name, _ in plain.values] if isinstance(plain, kinds.Enum) else []
        return None if path.enumerator in names else _no_such(path.enumerator, names)
    for name in path.members:
        while isinstance(plain, kinds.Array):
            plain = btf.resolve(plain.element)
        if not isinstance(plain, kinds.Composite):
            return f"what holds {name} is no struct there"
        member = _member(btf, plain, name)
        if member is None:
            return _no_such(name, list(_names(btf, plain)))
        plain = btf.resolve(member.type)
    return None


def _no_such(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name.strip("_"), names, 3)
    return f"no {name} there" + (f"; there is {', '.join(near)}" if near else "")


def _member(btf: Btf, found: kinds.Composite, name: str) -> kinds.Member | None:
    return next((member for member in _members(btf, found) if member.name == name), None)


def _names(btf: Btf, found: kinds.Composite) -> Iterator[str]:
    return (member.name for member in _members(btf, found))


_MAX_DEPTH = 32
"""Anonymous structs in one another; damaged BTF may have one in itself."""


def _members(btf: Btf, found: kinds.Composite, depth: int = 0) -> Iterator[kinds.Member]:
    """Those with a name, also of anonymous structs and unions."""
    for member in found.members:
        if member.name:
            yield member
            continue
        inner = btf.resolve(member.type)
        if isinstance(inner, kinds.Composite) and depth < _MAX_DEPTH:
            yield from _members(btf, inner, depth + 1)
