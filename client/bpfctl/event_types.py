# SPDX-License-Identifier: Apache-2.0
"""Which struct the records of a ring buffer are.

The kernel keeps no type for a ring's records: a package says it, a user says it
(`--type MAP=STRUCT`), or it is found in the object's BTF by the conventions of C sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.btf.kinds import Type


def named(btf: Btf, name: str) -> int:
    """Type id of "struct event", "event" or a typedef; raises InvalidArgument."""
    from bpfctl.btf.kinds import Kind

    words = name.split()
    bare = words[-1] if words else ""
    for kind in (Kind.STRUCT, Kind.TYPEDEF, Kind.UNION, Kind.INT, Kind.ENUM):
        found = btf.find(bare, kind)
        if found is not None:
            return found.id
    import difflib

    structs = [entry.name for entry in btf.types() if entry.kind is Kind.STRUCT and entry.name]
    near = difflib.get_close_matches(bare, structs, 3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise InvalidArgument("type of the events", f"the object has no type {name!r}{hint}")


def guess(btf: Btf, map_name: str, others: int = 0) -> int | None:
    """Type id of the records of a ring buffer, None where nothing speaks for one.

    First counts what the source itself says, where `bpfctl build` compiled it; then a struct
    that is called as the map is ("drops": drop, drop_event, drops_t),
    then a variable that only keeps a type in the BTF (`const struct event *unused;`), then
    one called event, where `others`, the number of further rings, is 0.
    """
    said = _said(btf, map_name)
    if said is not None:
        return said
    structs = {entry.name: entry.id for entry in _structs(btf)}
    for name in _names(map_name):
        if name in structs:
            return structs[name]
    if others:
        return None
    kept = list(_kept(btf))
    if len(kept) == 1:
        return kept[0]
    for name in ("event", "event_t", "data_t", "record"):
        if name in structs:
            return structs[name]
    return None


def _said(btf: Btf, map_name: str) -> int | None:
    """The parameter of the function that keeps a ring's type; see compiler.record_types."""
    from bpfctl.btf import kinds
    from bpfctl.compiler.record_types import PREFIX

    function = btf.find(PREFIX + map_name, kinds.Kind.FUNC)
    prototype = btf.type(function.prototype) if isinstance(function, kinds.Function) else None
    if not isinstance(prototype, kinds.FunctionPrototype) or len(prototype.parameters) != 1:
        return None
    pointer = btf.resolve(prototype.parameters[0][1])
    if not isinstance(pointer, kinds.Reference):
        return None
    target = btf.resolve(pointer.target)
    return target.id if btf.size(target.id) else None


def _structs(btf: Btf) -> Iterator[Type]:
    from bpfctl.btf.kinds import Kind

    for entry in btf.types():
        if entry.kind in (Kind.STRUCT, Kind.TYPEDEF) and entry.name and btf.size(entry.id):
            yield entry


def _names(map_name: str) -> Iterator[str]:
    """What a struct may be called whose records are in a map of that name."""
    stem = re.sub(r"_?(events?|ring|rb|ringbuf|buffer|map|perf)$", "", map_name)
    for base in dict.fromkeys((map_name, map_name.removesuffix("s"), stem, stem.rstrip("s"))):
        if base:
            yield from (base, f"{base}_event", f"{base}_t", f"{base}_event_t")


def _kept(btf: Btf) -> Iterator[int]:
    """Structs that a variable outside of any section, or unused, points to."""
    from bpfctl.btf import kinds

    for entry in btf.types():
        if not isinstance(entry, kinds.Variable):
            continue
        pointer = btf.resolve(entry.type)
        if not isinstance(pointer, kinds.Reference):
            continue
        target = btf.resolve(pointer.target)
        if target.kind is kinds.Kind.STRUCT and target.name:
            yield target.id
