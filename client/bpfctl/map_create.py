# SPDX-License-Identifier: Apache-2.0
"""Maps that are made without an object of programs: an object with one map in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfctl.maps import Map
    from bpfctl.sessions import Session
    from bpfctl.target import Target
    from bpfd.v1 import maps_pb2, objects_pb2

FLAGS = (
    *("no_prealloc", "no_common_lru", "numa_node", "rdonly", "wronly", "stack_build_id"),
    *("zero_seed", "rdonly_prog", "wronly_prog", "clone", "mmapable", "preserve_elems"),
    *("inner_map", "link", "path_fd", "vtype_btf_obj_fd", "token_fd", "segv_on_fault"),
)
"""BPF_F_... of BPF_MAP_CREATE in include/uapi/linux/bpf.h, from bit 0 on."""

_TYPED = (
    *("HASH", "ARRAY", "PERCPU_HASH", "PERCPU_ARRAY", "LRU_HASH", "LRU_PERCPU_HASH"),
    *("SK_STORAGE", "INODE_STORAGE", "TASK_STORAGE", "CGRP_STORAGE"),
)
"""Types that the kernel takes types of keys and values of, as numbers and bytes."""

_REFERENCES = (
    *("PROG_ARRAY", "PERF_EVENT_ARRAY", "CGROUP_ARRAY", "ARRAY_OF_MAPS", "HASH_OF_MAPS"),
    *(
        "DEVMAP",
        "DEVMAP_HASH",
        "CPUMAP",
        "XSKMAP",
        "SOCKMAP",
        "SOCKHASH",
        "REUSEPORT_SOCKARRAY",
    ),
)
_STORAGE = ("SK_STORAGE", "INODE_STORAGE", "TASK_STORAGE", "CGRP_STORAGE")
_KEYLESS = ("QUEUE", "STACK", "BLOOM_FILTER", "RINGBUF", "USER_RINGBUF", "ARENA")
_VALUELESS = ("RINGBUF", "USER_RINGBUF", "ARENA")

_NEEDED_FLAGS = {
    "LPM_TRIE": 1 << 0,
    **dict.fromkeys(_STORAGE, 1 << 0),
    "ARENA": 1 << 10,
}
"""Flags without which the kernel does not make the type."""


@dataclass(frozen=True)
class Definition:
    """A map to be made; what is empty or None is the type's usual one."""

    type: str
    """As in "hash" or "lru_percpu_hash"."""
    key: str = ""
    """"u8" to "s64", or a number of bytes."""
    value: str = ""
    max_entries: int | None = None
    """Entries; bytes of a ring buffer; pages of an arena."""
    flags: int = 0
    map_extra: int = 0
    inner: str = ""
    """Map that those in a map of maps are like."""


def flags_of(text: str) -> int:
    """The bits of names with commas between, or of a number; raises InvalidArgument."""
    bits = 0
    for word in filter(None, text.split(",")):
        name = word.lower().removeprefix("bpf_f_")
        if name in FLAGS:
            bits |= 1 << FLAGS.index(name)
            continue
        try:
            bits |= int(word, 0)
        except ValueError:
            known = ", ".join(FLAGS)
            raise InvalidArgument("flags", f"{word!r} is none of {known}") from None
    return bits


def create(
    target: Target,
    name: str,
    definition: Definition | None = None,
    *,
    like: str = "",
    max_entries: int | None = None,
    session: Session | None = None,
) -> Map:
    """Make a map; it stays as an object of that name, or lives as long as `session`.

    `name` is OBJECT/MAP, or one name for both. Either by a definition, or `like` another
    map, as an inner map has to be like its template; then with `max_entries` of its own.
    """
    from bpfd.v1 import maps_pb2

    owner, _, member = name.partition("/")
    request = maps_pb2.CreateMapRequest(object=owner)
    if session is not None:
        request.lifetime.session = session.id
    else:
        request.lifetime.pinned.SetInParent()
    if like:
        _like(target.map(like), request)
        if max_entries is not None:
            request.map.max_entries = max_entries
    elif definition is not None:
        _define(target, definition, request)
    request.map.name = member or owner
    rpc = target.rpc
    made = rpc.call(rpc.maps.Create, request, "Maps.Create")
    return target.map(f"{made.name}/{request.map.name}")


def _like(other: Map, request: maps_pb2.CreateMapRequest) -> None:
    _copy(other, request.map)
    info = other.info
    if info.btf_id and info.btf_value_type_id:
        data, split = other.target.btf.raw(info.btf_id)
        if not split:
            request.btf = data
            request.map.btf_key_type_id = info.btf_key_type_id
            request.map.btf_value_type_id = info.btf_value_type_id


def _copy(other: Map, spec: objects_pb2.MapSpec) -> None:
    info = other.info
    spec.type = info.type
    spec.key_size, spec.value_size = info.key_size, info.value_size
    spec.max_entries, spec.map_flags = info.max_entries, info.flags
    spec.map_extra = info.map_extra
    spec.name = "inner"


def _define(target: Target, definition: Definition, request: maps_pb2.CreateMapRequest) -> None:
    from bpfctl.btf.make import describe
    from bpfd.v1 import common_pb2

    kind = definition.type.upper()
    spec = request.map
    known = {each.removeprefix("MAP_TYPE_") for each in common_pb2.MapType.keys()}  # noqa: SIM118
    if kind not in known or kind in ("UNSPECIFIED", "STRUCT_OPS"):
        import difflib

        near = difflib.get_close_matches(definition.type, [each.lower() for each in known], 3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InvalidArgument("type", f"{definition.type!r} is no type of map to be made{hint}")
    spec.type = common_pb2.MapType.Value(f"MAP_TYPE_{kind}")
    key, value = _sizes(kind, definition)
    described = describe(key, value, "big" if target.info().big_endian else "little")
    spec.key_size, spec.value_size = described.key_size, described.value_size
    if kind in _TYPED:
        request.btf = described.btf
        spec.btf_key_type_id = described.key_type_id
        spec.btf_value_type_id = described.value_type_id
    entries = definition.max_entries
    if entries is None and kind not in _STORAGE:
        raise InvalidArgument("max_entries", f"how many entries may a {definition.type} have?")
    spec.max_entries = entries or 0
    spec.map_flags = definition.flags | _NEEDED_FLAGS.get(kind, 0)
    spec.map_extra = definition.map_extra
    if kind in ("ARRAY_OF_MAPS", "HASH_OF_MAPS"):
        if not definition.inner:
            raise InvalidArgument("inner", "which map are those like that will be in it?")
        _copy(target.map(definition.inner), spec.inner)


def _sizes(kind: str, definition: Definition) -> tuple[str, str]:
    key = definition.key or ("" if kind in _KEYLESS else "u32")
    value = definition.value
    if kind in _STORAGE:
        key = "s32"
    if not value and kind in _REFERENCES:
        value = "u64" if kind in ("SOCKMAP", "SOCKHASH", "REUSEPORT_SOCKARRAY") else "u32"
        if kind in ("DEVMAP", "DEVMAP_HASH", "CPUMAP"):
            value = "8"
    if not value and kind == "STACK_TRACE":
        value = "1016"
    if not value and kind not in _VALUELESS:
        raise InvalidArgument("value", f"of what type are the values of a {definition.type}?")
    return key, value
