# SPDX-License-Identifier: Apache-2.0
"""What this kernel can do: each feature is tried, once, when somebody asks.

`since` is for people: no decision is ever made from a version.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

from bpfd.errors import NotSupported
from bpfd.kernel import probe
from bpfd.kernel.constants import AttachType, MapType, ProgType


@dataclass(frozen=True)
class Feature:
    """What was found."""

    name: str
    supported: bool
    # How it was tried, and what the kernel answered.
    probe: str
    # First kernel that has it; empty: unknown.
    since: str
    # What would make it work.
    needs: str


@dataclass(frozen=True)
class Probe:
    """How to find out."""

    name: str
    how: str
    run: Callable[[], None]
    since: str = ""
    needs: str = ""


_PROGRAM_SINCE = {
    "SOCKET_FILTER": "3.19", "KPROBE": "4.1", "SCHED_CLS": "4.1", "SCHED_ACT": "4.1",
    "TRACEPOINT": "4.7", "XDP": "4.8", "PERF_EVENT": "4.9", "CGROUP_SKB": "4.10",
    "CGROUP_SOCK": "4.10", "LWT_IN": "4.10", "LWT_OUT": "4.10", "LWT_XMIT": "4.10",
    "SOCK_OPS": "4.13", "SK_SKB": "4.14", "CGROUP_DEVICE": "4.15", "SK_MSG": "4.17",
    "RAW_TRACEPOINT": "4.17", "CGROUP_SOCK_ADDR": "4.17", "LWT_SEG6LOCAL": "4.18",
    "LIRC_MODE2": "4.18", "SK_REUSEPORT": "4.19", "FLOW_DISSECTOR": "4.20",
    "CGROUP_SYSCTL": "5.2", "RAW_TRACEPOINT_WRITABLE": "5.2", "CGROUP_SOCKOPT": "5.3",
    "SK_LOOKUP": "5.9", "SYSCALL": "5.14", "NETFILTER": "6.4",
}  # fmt: skip

_PROGRAM_NEEDS = {
    "LWT_IN": "CONFIG_LWTUNNEL_BPF",
    "LWT_OUT": "CONFIG_LWTUNNEL_BPF",
    "LWT_XMIT": "CONFIG_LWTUNNEL_BPF",
    "LWT_SEG6LOCAL": "CONFIG_IPV6_SEG6_BPF",
    "LIRC_MODE2": "CONFIG_BPF_LIRC_MODE2",
    "NETFILTER": "CONFIG_NETFILTER_BPF_LINK",
    "KPROBE": "CONFIG_BPF_EVENTS",
    "TRACEPOINT": "CONFIG_BPF_EVENTS",
    "PERF_EVENT": "CONFIG_BPF_EVENTS",
    "RAW_TRACEPOINT": "CONFIG_BPF_EVENTS",
}

_ATTACH_TYPES: dict[str, int] = {
    "CGROUP_SOCK_ADDR": AttachType.CGROUP_INET4_CONNECT,
    "CGROUP_SOCKOPT": AttachType.CGROUP_GETSOCKOPT,
    "CGROUP_SOCK": AttachType.CGROUP_INET_SOCK_CREATE,
    "SK_LOOKUP": AttachType.SK_LOOKUP,
    "NETFILTER": AttachType.NETFILTER,
}

_MAP_SINCE = {
    "HASH": "3.19", "ARRAY": "3.19", "PROG_ARRAY": "4.2", "PERF_EVENT_ARRAY": "4.3",
    "PERCPU_HASH": "4.6", "PERCPU_ARRAY": "4.6", "STACK_TRACE": "4.6", "CGROUP_ARRAY": "4.8",
    "LRU_HASH": "4.10", "LRU_PERCPU_HASH": "4.10", "LPM_TRIE": "4.11",
    "ARRAY_OF_MAPS": "4.12", "HASH_OF_MAPS": "4.12", "DEVMAP": "4.14", "SOCKMAP": "4.14",
    "CPUMAP": "4.15", "XSKMAP": "4.18", "SOCKHASH": "4.18", "CGROUP_STORAGE": "4.19",
    "REUSEPORT_SOCKARRAY": "4.19", "PERCPU_CGROUP_STORAGE": "4.20", "QUEUE": "4.20",
    "STACK": "4.20", "SK_STORAGE": "5.2", "DEVMAP_HASH": "5.4", "RINGBUF": "5.8",
    "INODE_STORAGE": "5.10", "TASK_STORAGE": "5.11", "BLOOM_FILTER": "5.16",
    "USER_RINGBUF": "6.1", "CGRP_STORAGE": "6.2", "ARENA": "6.9", "INSN_ARRAY": "6.19",
}  # fmt: skip

_MAP_NEEDS = {
    "XSKMAP": "CONFIG_XDP_SOCKETS",
    "INODE_STORAGE": "CONFIG_BPF_LSM",
    "CGROUP_ARRAY": "CONFIG_CGROUPS",
    "CGRP_STORAGE": "CONFIG_CGROUPS",
    "STACK_TRACE": "CONFIG_PERF_EVENTS",
}

_BATCHED = {
    "HASH": "5.6", "LRU_HASH": "5.6", "ARRAY": "5.6", "LPM_TRIE": "",
    "ARRAY_OF_MAPS": "5.19", "HASH_OF_MAPS": "5.19", "PERCPU_HASH": "5.6",
    "LRU_PERCPU_HASH": "5.6", "PERCPU_ARRAY": "5.13",
}  # fmt: skip


def _program(name: str) -> Probe:
    number = ProgType[name]
    attach_type = _ATTACH_TYPES.get(name, 0)
    flags = probe.BPF_F_SLEEPABLE if name == "SYSCALL" else 0
    return Probe(
        f"program {name.lower()}",
        "BPF_PROG_LOAD of a program that returns",
        functools.partial(probe.program_type, number, attach_type, flags),
        _PROGRAM_SINCE[name],
        _PROGRAM_NEEDS.get(name, ""),
    )


def _map(name: str) -> Probe:
    return Probe(
        f"map {name.lower()}",
        "BPF_MAP_CREATE of the smallest map",
        functools.partial(probe.map_type, MapType[name]),
        _MAP_SINCE[name],
        _MAP_NEEDS.get(name, ""),
    )


def _batch(name: str) -> Probe:
    return Probe(
        f"map batch {name.lower()}",
        "BPF_MAP_LOOKUP_BATCH of one entry",
        functools.partial(probe.map_batch, MapType[name]),
        _BATCHED[name],
    )


_BTF_NEEDS = "CONFIG_DEBUG_INFO_BTF"
_TRAMPOLINE = "CONFIG_FUNCTION_TRACER and CONFIG_DEBUG_INFO_BTF, and that no policy forbids it"

_OTHERS = (
    Probe(
        "kernel BTF", "stat of /sys/kernel/btf/vmlinux",
        functools.partial(probe.file_exists, "/sys/kernel/btf/vmlinux"), "5.4", _BTF_NEEDS,
    ),
    Probe(
        "instructions v2", "BPF_PROG_LOAD with a jump by <",
        functools.partial(probe.instruction_set, "v2"), "4.14",
    ),
    Probe(
        "instructions v3", "BPF_PROG_LOAD with a 32-bit jump",
        functools.partial(probe.instruction_set, "v3"), "5.1",
    ),
    Probe(
        "instructions v4", "BPF_PROG_LOAD with a move that extends the sign",
        functools.partial(probe.instruction_set, "v4"), "6.6", "a JIT that knows them",
    ),
    Probe(
        # bpf_ktime_get_coarse_ns came in the same release as the accounting, which
        # itself cannot be seen (commit d05512618056).
        "memory accounting by cgroup",
        "BPF_PROG_LOAD that calls bpf_ktime_get_coarse_ns, which is as old",
        functools.partial(probe.helper, 160), "5.11",
    ),
    Probe(
        "XDP fragments", "BPF_PROG_LOAD with BPF_F_XDP_HAS_FRAGS",
        functools.partial(
            probe.program_type, ProgType.XDP, AttachType.XDP, probe.BPF_F_XDP_HAS_FRAGS
        ),
        "5.18",
    ),
    Probe("XDP link", "BPF_LINK_CREATE in a new network namespace", probe.xdp_link, "5.9"),
    Probe(
        "tcx link", "BPF_LINK_CREATE in a new network namespace", probe.tcx_link,
        "6.6", "CONFIG_NET_XGRESS; clsact filters work without it",
    ),
    Probe(
        "netfilter link", "BPF_LINK_CREATE in a new network namespace", probe.netfilter_link,
        "6.4", "CONFIG_NETFILTER_BPF_LINK",
    ),
    Probe(
        "cgroup link", "BPF_LINK_CREATE without a cgroup: EBADF",
        functools.partial(
            probe.link_of_no_target, ProgType.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS
        ),
        "5.7", "CONFIG_CGROUP_BPF",
    ),
    Probe(
        "cgroup Unix sockets", "BPF_PROG_LOAD for connect_unix",
        functools.partial(
            probe.program_type, ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_CONNECT
        ),
        "6.7", "CONFIG_CGROUP_BPF",
    ),
    Probe(
        "network namespace link", "BPF_LINK_CREATE without a namespace: EBADF",
        functools.partial(probe.link_of_no_target, ProgType.SK_LOOKUP, AttachType.SK_LOOKUP),
        "5.9",
    ),
    Probe(
        "sockmap link", "BPF_LINK_CREATE without a map: EBADF",
        functools.partial(
            probe.link_of_no_target, ProgType.SK_MSG, AttachType.SK_MSG_VERDICT
        ),
        "6.10", "programs are attached to sockmaps without links",
    ),
    Probe(
        "perf link", "BPF_LINK_CREATE without an event: EBADF",
        functools.partial(
            probe.link_of_no_target, ProgType.TRACEPOINT, AttachType.PERF_EVENT
        ),
        "5.15",
    ),
    Probe(
        "kprobe multi link", "BPF_LINK_CREATE of a function that is not there: ESRCH",
        probe.kprobe_multi_link, "5.18", "CONFIG_FPROBE",
    ),
    Probe(
        "uprobe multi link", "BPF_LINK_CREATE on a folder: EBADF",
        probe.uprobe_multi_link, "6.6", "CONFIG_UPROBES",
    ),
    Probe(
        "uprobe session link", "BPF_LINK_CREATE on a folder: EBADF",
        functools.partial(probe.uprobe_multi_link, AttachType.TRACE_UPROBE_SESSION),
        "6.13", "CONFIG_UPROBES",
    ),
    Probe(
        "netkit link", "BPF_PROG_QUERY of the loopback, which is none: ENXIO", probe.netkit,
        "6.7", "CONFIG_NETKIT",
    ),
    Probe("tp_btf", "BPF_PROG_LOAD for sched_switch", probe.tp_btf, "5.5", _BTF_NEEDS),
    Probe("iterator", "BPF_PROG_LOAD for tasks", probe.iterator, "5.8", _BTF_NEEDS),
    Probe(
        "fentry", f"attaching to {probe.TRAMPOLINE}",
        functools.partial(probe.tracing, AttachType.TRACE_FENTRY),
        "5.5", _TRAMPOLINE,
    ),
    Probe(
        "fexit", f"attaching to {probe.TRAMPOLINE}",
        functools.partial(probe.tracing, AttachType.TRACE_FEXIT),
        "5.5", _TRAMPOLINE,
    ),
    Probe(
        "LSM", "attaching to quotactl", probe.lsm,
        "5.7", "CONFIG_BPF_LSM and bpf in the kernel's lsm= list",
    ),
    Probe(
        "LSM of cgroups", "trampolines, and BPF_PROG_LOAD for socket_bind", probe.lsm_cgroup,
        "6.0", "CONFIG_BPF_LSM and bpf in the kernel's lsm= list",
    ),
    Probe(
        "struct_ops", "a struct_ops in the kernel's BTF", probe.struct_ops, "5.6", _BTF_NEEDS,
    ),
    Probe(
        "struct_ops link", "BPF_MAP_CREATE with BPF_F_LINK, of no type: ENOTSUPP",
        probe.struct_ops_link, "6.4", "trampolines of this architecture",
    ),
    Probe(
        "kprobe", "the perf event source kprobe",
        functools.partial(probe.perf_source, "kprobe"), "4.17", "CONFIG_KPROBE_EVENTS",
    ),
    Probe(
        "kprobe of functions", "a probe of the first instruction of bpf_fentry_test1",
        probe.kprobe_at_entry, "4.17", "CONFIG_KPROBE_EVENTS; where functions begin with a "
        "place of ftrace, CONFIG_KPROBES_ON_FTRACE",
    ),
    Probe(
        "uprobe", "the perf event source uprobe",
        functools.partial(probe.perf_source, "uprobe"), "4.17", "CONFIG_UPROBE_EVENTS",
    ),
    Probe(
        "hardware counters", "perf_event_open of cycles", probe.hardware_counters,
        needs="a performance monitoring unit that the kernel may use",
    ),
    Probe("run statistics", "BPF_ENABLE_STATS", probe.run_statistics, "5.8"),
)  # fmt: skip

PROBES: dict[str, Probe] = {
    each.name: each
    for each in (
        *map(_program, _PROGRAM_SINCE),
        *map(_map, _MAP_SINCE),
        *map(_batch, _BATCHED),
        *_OTHERS,
    )
}
"""Every feature that can be asked for, by name, in the order of reports."""

_lock = threading.Lock()
_found: dict[str, Feature] = {}


def feature(name: str) -> Feature:
    """Tries the feature, the first time. Blocks. Raises KeyError for an unknown name."""
    with _lock:
        if name not in _found:
            _found[name] = _try(PROBES[name])
        return _found[name]


def every() -> list[Feature]:
    """All features. The first time takes some milliseconds. Blocks."""
    return [feature(name) for name in PROBES]


def require(name: str) -> None:
    """Raises NotSupported when the kernel lacks the feature. Blocks."""
    found = feature(name)
    if not found.supported:
        raise NotSupported(found.name, found.since, found.needs or found.probe)


def _try(what: Probe) -> Feature:
    try:
        what.run()
    except (OSError, NotSupported) as error:
        supported, answer = False, _answer(error)
    else:
        supported, answer = True, "works"
    needs = "" if supported else what.needs
    return Feature(what.name, supported, f"{what.how}: {answer}", what.since, needs)


def _answer(error: OSError | NotSupported) -> str:
    if isinstance(error, NotSupported):
        return str(error)
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    return f"{name} ({error.strerror})"
