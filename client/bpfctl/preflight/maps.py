# SPDX-License-Identifier: Apache-2.0
"""What an object's maps need: their types and flags, kinds of struct_ops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .needs import Need
from .since import map_flag_names

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.elf import ObjectFile

ARRAY = 2

_OF_THE_TYPE = {11: 1, 24: 1, 28: 1, 29: 1, 32: 1, 33: 1 << 10}
"""Flags that maps of a type cannot be without: lpm_trie and storages are made without
BPF_F_NO_PREALLOC by no kernel, arenas not without BPF_F_MMAPABLE."""


@dataclass(frozen=True)
class Definition:
    """A map as SEC(".maps") declares it; 0: it is not said."""

    name: str
    type: int
    flags: int = 0
    entries: int = 0


def definitions(btf: Btf | None) -> list[Definition]:
    """The maps of SEC(".maps") in the order of an object's BTF."""
    if btf is None:
        return []
    return [
        _definition(btf, variable.name, variable.type_id) for variable in btf.variables(".maps")
    ]


def _definition(btf: Btf, name: str, type_id: int) -> Definition:
    from bpfctl.btf import kinds

    said: dict[str, int] = {}
    found = btf.resolve(type_id)
    for member in found.members if isinstance(found, kinds.Composite) else ():
        # __uint(KEY, NUMBER) of libbpf's bpf_helpers.h: a pointer to an array of so many.
        pointer = btf.resolve(member.type)
        if isinstance(pointer, kinds.Reference):
            array = btf.resolve(pointer.target)
            if isinstance(array, kinds.Array):
                said[member.name] = array.count
    return Definition(
        name, said.get("type", 0), said.get("map_flags", 0), said.get("max_entries", 0)
    )


def needs(parsed: ObjectFile, btf: Btf | None) -> Iterator[Need]:
    """One for each type of map, one for each type with flags, one for each struct_ops."""
    from bpfctl.listing import map_type

    for item in definitions(btf):
        name = str(map_type(item.type))
        yield Need("map type", name, ("map", (item.type, 0)))
        if item.flags & ~_OF_THE_TYPE.get(item.type, 0):
            names = ", ".join(map_flag_names(item.flags))
            yield Need("map type", f"{name} with {names}", ("map", (item.type, item.flags)))
    if any(entry.kind == "data" for entry in parsed.maps):
        yield Need("map type", "array", ("map", (ARRAY, 0)))
    if btf is not None and any(entry.kind == "struct_ops" for entry in parsed.maps):
        yield from _struct_ops(btf)


def _struct_ops(btf: Btf) -> Iterator[Need]:
    from bpfctl.btf.kinds import Kind

    for section in btf.sections:
        if not section.name.removeprefix("?").startswith(".struct_ops"):
            continue
        for variable in btf.variables(section.name):
            kind = btf.resolve(variable.type_id).name
            ask = ("btf", (f"bpf_struct_ops_{kind}", Kind.STRUCT))
            yield Need("hook", f"struct_ops {kind}", ask)
        if section.name.endswith(".link"):
            yield Need(
                "hook",
                "struct_ops link",
                ("feature", "struct_ops link"),
                at_attach=True,
                fallback="registered without a link",
            )
