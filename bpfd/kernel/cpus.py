# SPDX-License-Identifier: Apache-2.0
"""How large values of per-CPU maps are."""

from __future__ import annotations

import functools

from bpfd.kernel import host
from bpfd.kernel.constants import PERCPU_MAP_TYPES
from bpfd.kernel.info import MapInfo


@functools.cache
def possible_count() -> int:
    """Number of possible CPUs: values of per-CPU maps have one slot for each.

    bpf_map_value_size() in kernel/bpf/syscall.c counts them; numbers may have gaps.
    """
    return host.host().possible_cpus


def percpu_stride(info: MapInfo) -> int:
    """Bytes between the values of two CPUs; 0: not a per-CPU map."""
    return (info.value_size + 7) // 8 * 8 if info.type in PERCPU_MAP_TYPES else 0


def value_width(info: MapInfo) -> int:
    """Bytes of one value in system calls, all CPUs of a per-CPU map together."""
    stride = percpu_stride(info)
    return stride * possible_count() if stride else int(info.value_size)
