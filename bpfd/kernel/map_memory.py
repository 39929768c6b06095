# SPDX-License-Identifier: Apache-2.0
"""How much memory maps take when they are made, before they are made.

The kernel asks for the memory of a preallocated map piece by piece and gets the machine, or
the daemon, killed before it gives up. The sums are those of the map_mem_usage functions of
kernel/bpf (Linux 6.4, commit 90a5527d7686 and others), without what comes with each entry of a
map that does not preallocate.
"""

from __future__ import annotations

from collections.abc import Mapping

from bpfd.errors import LimitExceeded
from bpfd.kernel import free_memory
from bpfd.kernel.constants import BPF_F_NO_PREALLOC, MapType
from bpfd.kernel.cpus import possible_count
from bpfd.kernel.host import host
from bpfd.kernel.rejection import MapDefinition

SMALL = 1 << 20
"""Bytes that are never refused."""

_HASHES = frozenset(
    {
        *(MapType.HASH, MapType.LRU_HASH, MapType.HASH_OF_MAPS),
        *(MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH),
    }
)
_PERCPU_HASHES = frozenset({MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH})
_LRU = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})
_RINGS = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF})
_POINTERS = frozenset(
    {
        *(MapType.DEVMAP, MapType.SOCKMAP, MapType.CPUMAP, MapType.XSKMAP),
        MapType.REUSEPORT_SOCKARRAY,
    }
)
_SLOTS = frozenset(
    {
        *(MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY),
        *(MapType.CGROUP_ARRAY, MapType.ARRAY_OF_MAPS),
    }
)
_HASH_FUNCTIONS = 5


def estimate(definition: MapDefinition, cpus: int, pointer: int = 8) -> int:
    """Bytes that a map takes when it is made; `pointer` is 4 on kernels of 32 bits. Pure."""
    kind, entries = definition.type, definition.max_entries
    value = _eight(definition.value_size)
    buckets = 1 << max(0, entries - 1).bit_length()
    if kind in _HASHES:
        return _hash(definition, cpus, pointer, buckets)
    if kind == MapType.ARRAY:
        return entries * value
    if kind == MapType.PERCPU_ARRAY:
        return entries * (pointer + value * cpus)
    if kind in _SLOTS:
        return entries * 8
    if kind in _POINTERS:
        return entries * pointer
    if kind in (MapType.QUEUE, MapType.STACK):
        return (entries + 1) * definition.value_size
    if kind == MapType.STACK_TRACE:
        return buckets * pointer + entries * (16 + definition.value_size)
    if kind == MapType.DEVMAP_HASH:
        return buckets * pointer
    if kind == MapType.SOCKHASH:
        return buckets * 2 * pointer
    if kind == MapType.BLOOM_FILTER:
        bits = entries * _HASH_FUNCTIONS * 7 // 5
        return (1 << max(0, bits - 1).bit_length()) // 8
    if kind in _RINGS:
        return entries + entries // 4096 * 2 * pointer
    return 0


def _hash(definition: MapDefinition, cpus: int, pointer: int, buckets: int) -> int:
    size = buckets * 2 * pointer
    if definition.flags & BPF_F_NO_PREALLOC:
        return size
    per_cpu = definition.type in _PERCPU_HASHES
    value = _eight(definition.value_size)
    # struct htab_elem, 48 bytes on kernels of 64 bits.
    element = 6 * pointer + _eight(definition.key_size) + (pointer if per_cpu else value)
    count = definition.max_entries
    if not per_cpu and definition.type not in _LRU:
        count += cpus
    return size + count * (element + (value * cpus if per_cpu else 0))


def _eight(size: int) -> int:
    return (size + 7) // 8 * 8


def check(maps: Mapping[str, MapDefinition]) -> None:
    """Raises LimitExceeded for maps that together do not fit into memory."""
    facts = host()
    sizes = {
        name: estimate(each, possible_count(), facts.pointer_bits // 8)
        for name, each in maps.items()
    }
    asked = sum(sizes.values())
    if asked < SMALL:
        return
    try:
        free = free_memory.free()
    except (OSError, ValueError):
        return
    if asked > free:
        raise refusal(maps, sizes, free)


def refusal(
    maps: Mapping[str, MapDefinition], sizes: Mapping[str, int], free: int
) -> LimitExceeded:
    """What to say, and how many entries of the largest map would fit. Pure."""
    largest = max(sizes, key=lambda name: sizes[name])
    asked, size = sum(sizes.values()), sizes[largest]
    rest = max(0, free - (asked - size))
    fitting = maps[largest].max_entries * rest // size
    words = "max_entries of the definition"
    hint = (
        f"map {largest} takes {_words(size)} for max_entries {maps[largest].max_entries}, and "
        f"{_words(free)} of the target's memory may be taken; "
    )
    if fitting:
        hint += f"about {_rounded(fitting)} would fit: --map-size {largest}=NUMBER, or {words}"
    else:
        hint += f"lower it with --map-size {largest}=NUMBER, or {words}"
    return LimitExceeded(f"bytes of memory for map {largest}", free, asked=asked, hint=hint)


def _rounded(number: int) -> int:
    """Two digits that count, never more than the number."""
    scale = int(10 ** max(0, len(str(number)) - 2))
    return number // scale * scale


def _words(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size >> 10} KiB"
