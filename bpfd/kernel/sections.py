# SPDX-License-Identifier: Apache-2.0
"""Section names of programs that are younger than libbpf 1.0, and what they mean.

The libbpf at hand may be older than the object. Source: the table `section_defs` of libbpf
1.7 (1.2 brought struct_ops.s; 1.3 uprobe.multi, tcx, netkit, netfilter and the unix sockets;
1.5 sessions of kprobes, 1.6 of uprobes, 1.7 fsession).
"""

from __future__ import annotations

from dataclasses import dataclass

from bpfd.kernel.constants import AttachType, ProgType

_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE


@dataclass(frozen=True)
class Section:
    """Type, expected attach type and load flags of a program."""

    type: int
    attach_type: int
    flags: int = 0
    by_btf: bool = False
    """Whether a function of the kernel follows, that it is checked against."""


_UPROBES = Section(ProgType.KPROBE, AttachType.TRACE_UPROBE_MULTI)
_SLEEPY_UPROBES = Section(ProgType.KPROBE, AttachType.TRACE_UPROBE_MULTI, _SLEEPABLE)

_SECTIONS = {
    "uprobe.multi": _UPROBES,
    "uretprobe.multi": _UPROBES,
    "uprobe.multi.s": _SLEEPY_UPROBES,
    "uretprobe.multi.s": _SLEEPY_UPROBES,
    "kprobe.session": Section(ProgType.KPROBE, AttachType.TRACE_KPROBE_SESSION),
    "uprobe.session": Section(ProgType.KPROBE, AttachType.TRACE_UPROBE_SESSION),
    "uprobe.session.s": Section(ProgType.KPROBE, AttachType.TRACE_UPROBE_SESSION, _SLEEPABLE),
    "uprobe.s": Section(ProgType.KPROBE, 0, _SLEEPABLE),
    "uretprobe.s": Section(ProgType.KPROBE, 0, _SLEEPABLE),
    "usdt.s": Section(ProgType.KPROBE, 0, _SLEEPABLE),
    "fsession": Section(ProgType.TRACING, AttachType.TRACE_FSESSION, by_btf=True),
    "fsession.s": Section(ProgType.TRACING, AttachType.TRACE_FSESSION, _SLEEPABLE, by_btf=True),
    "struct_ops.s": Section(ProgType.STRUCT_OPS, 0, _SLEEPABLE),
    "tcx/ingress": Section(ProgType.SCHED_CLS, AttachType.TCX_INGRESS),
    "tcx/egress": Section(ProgType.SCHED_CLS, AttachType.TCX_EGRESS),
    "tc/ingress": Section(ProgType.SCHED_CLS, AttachType.TCX_INGRESS),
    "tc/egress": Section(ProgType.SCHED_CLS, AttachType.TCX_EGRESS),
    "netkit/primary": Section(ProgType.SCHED_CLS, AttachType.NETKIT_PRIMARY),
    "netkit/peer": Section(ProgType.SCHED_CLS, AttachType.NETKIT_PEER),
    "netfilter": Section(ProgType.NETFILTER, AttachType.NETFILTER),
    "sk_skb/verdict": Section(ProgType.SK_SKB, AttachType.SK_SKB_VERDICT),
    "cgroup/connect_unix": Section(ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_CONNECT),
    "cgroup/sendmsg_unix": Section(ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_SENDMSG),
    "cgroup/recvmsg_unix": Section(ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_RECVMSG),
    "cgroup/getpeername_unix": Section(
        ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_GETPEERNAME
    ),
    "cgroup/getsockname_unix": Section(
        ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_GETSOCKNAME
    ),
}
"""Behind a name and a slash more may follow: "uprobe.multi/BINARY:PATTERN"."""


def meaning(section: str) -> Section | None:
    """What a section says of its program; None: nothing, or libbpf 1.0 knows it."""
    name = section.removeprefix("?")
    return _SECTIONS.get(name) or _SECTIONS.get(name.partition("/")[0])


_TRACED = ("fentry", "fexit", "fmod_ret")


def function(section: str) -> str:
    """The function that libbpf 1.0 does not find in a section by itself; empty: it does.

    That of a section it does not know, and of SEC("fentry/MODULE:FUNCTION") (libbpf 1.6); the
    module is found by the function.
    """
    name, _, behind = section.removeprefix("?").partition("/")
    found = _SECTIONS.get(name)
    module, _, plain = behind.rpartition(":")
    if (found is not None and found.by_btf) or (module and name.removesuffix(".s") in _TRACED):
        return plain
    return ""


_SLEEPY, _READABLE = "struct_ops.s", "struct_ops/\1"


def readable(elf: bytes) -> bytes:
    """The object with SEC("struct_ops.s") under a name that a libbpf before 1.2 can open.

    It looks at the type of a struct_ops map's programs before anybody can set it.
    """
    for end in (b"\0", b"/"):
        elf = elf.replace(_SLEEPY.encode() + end, _READABLE.encode() + end)
    return elf


def original(section: str) -> str:
    """What the object calls a section of `readable`."""
    return section.replace(_READABLE, _SLEEPY)
