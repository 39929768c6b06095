# SPDX-License-Identifier: Apache-2.0
"""Which options of a kernel's configuration bring a feature, and what else does its work.

Names are those of the daemon's probes (bpfd/features.py). Options are those that guard the
types in include/linux/bpf_types.h, and of the Kconfig files of what hooks belong to.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

_ALL = ("CONFIG_BPF_SYSCALL",)

_OPTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("program socket_filter", ("CONFIG_NET",)),
    ("program sched_*", ("CONFIG_NET", "CONFIG_NET_CLS_BPF")),
    ("program xdp", ("CONFIG_NET",)),
    ("program cgroup_*", ("CONFIG_CGROUP_BPF",)),
    ("program sock_ops", ("CONFIG_CGROUP_BPF",)),
    ("program lwt_seg6local", ("CONFIG_IPV6_SEG6_BPF",)),
    ("program lwt_*", ("CONFIG_LWTUNNEL_BPF",)),
    ("program sk_skb", ("CONFIG_NET", "CONFIG_INET")),
    ("program sk_msg", ("CONFIG_NET", "CONFIG_INET")),
    ("program sk_*", ("CONFIG_INET",)),
    ("program flow_dissector", ("CONFIG_NET",)),
    ("program lirc_mode2", ("CONFIG_BPF_LIRC_MODE2",)),
    ("program netfilter", ("CONFIG_NETFILTER_BPF_LINK",)),
    ("program *tracepoint*", ("CONFIG_BPF_EVENTS",)),
    ("program kprobe", ("CONFIG_BPF_EVENTS",)),
    ("program perf_event", ("CONFIG_BPF_EVENTS",)),
    ("map cgroup_array", ("CONFIG_CGROUPS",)),
    ("map cgrp_storage", ("CONFIG_CGROUPS",)),
    ("map *cgroup_storage", ("CONFIG_CGROUP_BPF",)),
    ("map stack_trace", ("CONFIG_PERF_EVENTS",)),
    ("map perf_event_array", ("CONFIG_PERF_EVENTS",)),
    ("map xskmap", ("CONFIG_XDP_SOCKETS",)),
    ("map devmap*", ("CONFIG_NET",)),
    ("map cpumap", ("CONFIG_NET",)),
    ("map sock*", ("CONFIG_NET", "CONFIG_INET")),
    ("map reuseport_sockarray", ("CONFIG_INET",)),
    ("map sk_storage", ("CONFIG_NET",)),
    ("map inode_storage", ("CONFIG_BPF_LSM",)),
    ("map arena", ("CONFIG_MMU", "CONFIG_BPF_JIT")),
    ("kernel BTF", ("CONFIG_DEBUG_INFO_BTF",)),
    ("XDP *", ("CONFIG_NET",)),
    ("tcx link", ("CONFIG_NET_XGRESS",)),
    ("netfilter link", ("CONFIG_NETFILTER_BPF_LINK",)),
    ("cgroup *", ("CONFIG_CGROUP_BPF",)),
    ("network namespace link", ("CONFIG_NET_NS",)),
    ("sockmap link", ("CONFIG_NET", "CONFIG_INET")),
    ("perf link", ("CONFIG_PERF_EVENTS",)),
    ("kprobe multi link", ("CONFIG_FPROBE",)),
    ("uprobe * link", ("CONFIG_UPROBES", "CONFIG_BPF_EVENTS")),
    ("netkit link", ("CONFIG_NETKIT",)),
    ("tp_btf", ("CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_EVENTS")),
    ("iterator", ("CONFIG_DEBUG_INFO_BTF",)),
    (
        "fe[nx]*",
        (
            *("CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_JIT", "CONFIG_FUNCTION_TRACER"),
            "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
        ),
    ),
    ("LSM*", ("CONFIG_BPF_LSM", "CONFIG_DEBUG_INFO_BTF")),
    ("struct_ops*", ("CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_JIT")),
    ("kprobe", ("CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS")),
    ("uprobe", ("CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS")),
    ("hardware counters", ("CONFIG_PERF_EVENTS",)),
)

_INSTEAD = (
    ("map ringbuf", "map perf_event_array", "perf buffers (perf_event_array) carry events too"),
    ("map user_ringbuf", "map queue", "a queue that the client writes carries as well"),
    ("map batch *", "", "entries are read one by one, which is slower"),
    ("map task_storage", "map hash", "a hash by thread id holds the same"),
    ("map cgrp_storage", "map hash", "a hash by cgroup id holds the same"),
    (
        "tcx link",
        "program sched_cls",
        "clsact filters do the same, and are taken by themselves",
    ),
    ("fentry", "kprobe", "a kprobe sees the same function"),
    ("fexit", "kprobe", "a kretprobe sees the same function, without its arguments"),
    ("tp_btf", "program raw_tracepoint", "raw_tracepoint sees the same"),
    ("kprobe multi link", "kprobe", "a kprobe for each function does the same, but slower"),
    ("uprobe multi link", "uprobe", "a uprobe for each place does the same, but slower"),
    ("instructions v4", "instructions v3", "build with --cpu v3"),
    ("instructions v3", "instructions v2", "build with --cpu v2"),
    ("hardware counters", "program perf_event", "perf_event:cpu-clock samples by a timer"),
    ("netkit link", "program sched_cls", "tc at veth does the same"),
)
"""(feature, the one that does its work, in words)."""


def options_of(feature: str, needs: str = "") -> tuple[str, ...]:
    """Options that a feature is built with, those of `needs` (words of the daemon) too."""
    said = tuple(re.findall(r"CONFIG_\w+", needs))
    for pattern, options in _OPTIONS:
        if fnmatch.fnmatchcase(feature, pattern):
            return tuple(dict.fromkeys((*options, *said)))
    return said or _ALL


def instead_of(feature: str, has: Callable[[str], bool]) -> str:
    """What does the work where a feature is missing, of what the target `has`; or empty."""
    for pattern, other, text in _INSTEAD:
        if fnmatch.fnmatchcase(feature, pattern) and (not other or has(other)):
            return text
    return ""
