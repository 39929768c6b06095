# SPDX-License-Identifier: Apache-2.0
"""What maps take, beside what the kernel says that they took."""

from __future__ import annotations

import os

import pytest

from bpfd.errors import LimitExceeded
from bpfd.kernel import free_memory, info, map_memory, syscall
from bpfd.kernel.constants import BPF_F_NO_PREALLOC, MapType
from bpfd.kernel.cpus import possible_count
from bpfd.kernel.host import host
from bpfd.kernel.rejection import MapDefinition

DEFINITIONS = [
    MapDefinition(MapType.HASH, 4, 8, 100_000),
    MapDefinition(MapType.HASH, 20, 100, 60_000),
    MapDefinition(MapType.HASH, 4, 8, 100_000, BPF_F_NO_PREALLOC),
    MapDefinition(MapType.LRU_HASH, 4, 8, 100_000),
    MapDefinition(MapType.PERCPU_HASH, 4, 12, 30_000),
    MapDefinition(MapType.LRU_PERCPU_HASH, 16, 8, 30_000),
    MapDefinition(MapType.ARRAY, 4, 12, 100_000),
    MapDefinition(MapType.PERCPU_ARRAY, 4, 100, 3_000),
    MapDefinition(MapType.PROG_ARRAY, 4, 4, 100_000),
    MapDefinition(MapType.QUEUE, 0, 8, 200_000),
    MapDefinition(MapType.STACK_TRACE, 4, 1016, 2_000),
    MapDefinition(MapType.BLOOM_FILTER, 0, 8, 300_000),
    MapDefinition(MapType.DEVMAP_HASH, 4, 4, 100_000),
    MapDefinition(MapType.SOCKHASH, 4, 8, 100_000),
    MapDefinition(MapType.RINGBUF, 0, 0, 1 << 20),
    MapDefinition(MapType.CPUMAP, 4, 8, 1),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "definition", DEFINITIONS, ids=lambda each: f"{MapType(each.type).name}-{each.flags}"
)
def test_kernel_takes_what_was_estimated(definition: MapDefinition) -> None:
    size = map_memory.estimate(definition, possible_count(), host().pointer_bits // 8)
    fd = syscall.map_create(
        definition.type,
        definition.key_size,
        definition.value_size,
        definition.max_entries,
        flags=definition.flags,
    )
    try:
        took = int(info.fdinfo(fd)["memlock"])
    finally:
        os.close(fd)
    assert took * 0.95 - 8192 <= size <= took * 1.05 + 8192


def test_every_cpu_counts() -> None:
    many = MapDefinition(MapType.PERCPU_ARRAY, 4, 8, 1000)
    assert map_memory.estimate(many, 128) == 1000 * (8 + 8 * 128)
    hashed = MapDefinition(MapType.PERCPU_HASH, 4, 8, 1024)
    assert map_memory.estimate(hashed, 4, 4) == 1024 * (8 + 24 + 8 + 4 + 32)


def test_small_maps_are_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "free", lambda: 0)
    map_memory.check({"small": MapDefinition(MapType.ARRAY, 4, 8, 1000)})
    with pytest.raises(LimitExceeded):
        map_memory.check({"big": MapDefinition(MapType.ARRAY, 4, 8, 1 << 20)})


def test_refusal_says_what_would_fit() -> None:
    maps = {
        "big": MapDefinition(MapType.ARRAY, 4, 8, 1_000_000_000),
        "little": MapDefinition(MapType.ARRAY, 4, 8, 1000),
    }
    sizes = {name: map_memory.estimate(each, 2) for name, each in maps.items()}
    error = map_memory.refusal(maps, sizes, 100 << 20)
    assert (error.limit, error.asked) == (100 << 20, 8_000_008_000)
    assert "map big takes 7.5 GiB" in error.hint
    assert "about 13000000 would fit: --map-size big=NUMBER" in error.hint
    nothing = map_memory.refusal(maps, sizes, 1000)
    assert "lower it with --map-size big=NUMBER" in nothing.hint
