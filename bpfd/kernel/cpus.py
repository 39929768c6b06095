# SPDX-License-Identifier: Apache-2.0
"""CPUs, and what they mean for the size of per-CPU values."""

from __future__ import annotations

import functools

from bpfd.kernel.constants import PERCPU_MAP_TYPES
from bpfd.kernel.info import MapInfo


def parse_cpu_list(text: str) -> list[int]:
    """CPU numbers of a list as sysfs writes it: "0-3,8"."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def _read(name: str) -> list[int]:
    with open(f"/sys/devices/system/cpu/{name}") as file:
        return parse_cpu_list(file.read())


@functools.cache
def possible_count() -> int:
    """Number of possible CPUs: values of per-CPU maps have one slot for each."""
    return max(_read("possible")) + 1


def online() -> list[int]:
    """Numbers of the online CPUs, read anew: they come and go."""
    return _read("online")


def percpu_stride(info: MapInfo) -> int:
    """Bytes between the values of two CPUs; 0: not a per-CPU map."""
    return (info.value_size + 7) // 8 * 8 if info.type in PERCPU_MAP_TYPES else 0


def value_width(info: MapInfo) -> int:
    """Bytes of one value in system calls, all CPUs of a per-CPU map together."""
    stride = percpu_stride(info)
    return stride * possible_count() if stride else int(info.value_size)
