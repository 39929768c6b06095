# SPDX-License-Identifier: Apache-2.0
"""What works on a target in place of what it lacks, where its owner changes the program."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from .needs import Need
from .report import Finding, State


@dataclass(frozen=True)
class Substitute:
    """A need that would do as well, and what to write."""

    need: Need
    words: str


def _hook(feature: str, words: str) -> Substitute:
    return Substitute(Need("hook", feature, ("feature", feature)), words)


_KPROBE = _hook("kprobe", 'SEC("kprobe/FUNCTION") and kretprobe see the same functions')
_FENTRY = _hook("fentry", 'SEC("fentry/FUNCTION") and fexit see the same functions')
_TP_BTF = _hook("tp_btf", 'SEC("tp_btf/NAME") of a tracepoint nearby')
_CLSACT = _hook("program sched_cls", 'SEC("tc") or --attach tc:INTERFACE,...: clsact')
_PERF = _hook("map perf_event_array", "a perf buffer: BPF_MAP_TYPE_PERF_EVENT_ARRAY")
_HASH = _hook("map hash", "a hash by its address or id: BPF_MAP_TYPE_HASH")

_BY_NEED: dict[tuple[str, str], tuple[Substitute, ...]] = {
    ("hook", "fentry"): (_KPROBE, _TP_BTF),
    ("hook", "fexit"): (_KPROBE, _TP_BTF),
    ("hook", "kprobe"): (_FENTRY, _TP_BTF),
    ("hook", "kprobe multi link"): (
        _hook("kprobe", 'a SEC("kprobe/FUNCTION") for each function'),
        _FENTRY,
        _TP_BTF,
    ),
    ("hook", "uprobe session link"): (
        _hook("uprobe multi link", 'SEC("uprobe.multi") and SEC("uretprobe.multi")'),
        _hook("uprobe", 'SEC("uprobe") and SEC("uretprobe")'),
    ),
    ("hook", "tcx link"): (_CLSACT,),
    ("hook", "netkit link"): (_hook("tcx link", "a veth pair and tcx"), _CLSACT),
    ("hook", "netfilter link"): (
        _hook("program sched_cls", 'SEC("tc") on the interfaces: clsact'),
    ),
    ("hook", "tp_btf"): (
        _hook("program raw_tracepoint", 'SEC("raw_tp/NAME") with bpf_probe_read_kernel()'),
    ),
    ("hook", "lsm_cgroup"): (_hook("LSM", 'SEC("lsm/HOOK")'),),
    ("map type", "ringbuf"): (_PERF,),
    ("map type", "arena"): (
        _hook("map array", "an array with BPF_F_MMAPABLE and indices for pointers"),
    ),
    ("map type", "bloom_filter"): (_hook("map hash", "a hash: BPF_MAP_TYPE_HASH"),),
    ("map type", "task_storage"): (_HASH,),
    ("map type", "inode_storage"): (_HASH,),
    ("map type", "cgrp_storage"): (_HASH,),
    ("map type", "sk_storage"): (_HASH,),
    ("instructions", "v2"): (_hook("program socket_filter", "build with --cpu v1"),),
    ("instructions", "v3"): (_hook("instructions v2", "build with --cpu v2"),),
    ("instructions", "v4"): (_hook("instructions v3", "build with --cpu v3"),),
}
"""By kind and name of a need, the best first. Each is tried on the target before it is said."""

_HELPERS: dict[str, tuple[int, str]] = {
    "bpf_probe_read_kernel": (4, "bpf_probe_read()"),
    "bpf_probe_read_user": (4, "bpf_probe_read()"),
    "bpf_probe_read_kernel_str": (45, "bpf_probe_read_str()"),
    "bpf_probe_read_user_str": (45, "bpf_probe_read_str()"),
    **dict.fromkeys(
        ("bpf_ringbuf_reserve", "bpf_ringbuf_submit", "bpf_ringbuf_output"),
        (25, "bpf_perf_event_output() into a perf buffer"),
    ),
    "bpf_ktime_get_boot_ns": (5, "bpf_ktime_get_ns()"),
    "bpf_ktime_get_tai_ns": (5, "bpf_ktime_get_ns()"),
    "bpf_ktime_get_coarse_ns": (5, "bpf_ktime_get_ns()"),
    "bpf_get_current_task_btf": (35, "bpf_get_current_task() with BPF_CORE_READ()"),
    "bpf_trace_vprintk": (6, "bpf_trace_printk()"),
}
"""Number and spelling of an older helper, by the name of a newer one."""


def of(need: Need) -> Iterable[Substitute]:
    """What may do in place of a need, the best first; to be tried. Pure."""
    if need.kind == "helper" and need.ask is not None:
        name = need.name.partition(" ")[0]
        if name in _HELPERS:
            number, words = _HELPERS[name]
            ask = ("helper", (number, *need.ask[1][1:]))
            yield Substitute(Need("helper", f"{words} for {need.name}", ask), words)
        return
    name = need.name.partition(" with BPF_F_")[0]
    yield from _BY_NEED.get((need.kind, name), ())


def to_try(findings: Sequence[Finding]) -> list[Need]:
    """Needs that would do in place of those that are missing, each once. Pure."""
    found = {
        item.need.key: item.need
        for finding in findings
        if finding.state is State.MISSING
        for item in of(finding.need)
    }
    return list(found.values())


def with_help(findings: Sequence[Finding], works: Collection[tuple[str, str]]) -> list[Finding]:
    """The findings with what does in their place; `works` are keys of needs that are met."""
    return [replace(finding, helps=_help(finding, works)) for finding in findings]


def _help(finding: Finding, works: Collection[tuple[str, str]]) -> str:
    if finding.state is not State.MISSING:
        return finding.helps
    does = next((item.words for item in of(finding.need) if item.need.key in works), "")
    if not does:
        return finding.helps
    return f"works here: {does}" + (f"; else: {finding.helps}" if finding.helps else "")
