# SPDX-License-Identifier: Apache-2.0
"""Program type, attach type and flags by section name.

Source: the table `section_defs` of libbpf 1.7; numbers are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from dataclasses import dataclass

SLEEPABLE, XDP_FRAGS = 1 << 4, 1 << 5
"""BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS."""

TRACING, STRUCT_OPS, EXT, LSM = 26, 27, 28, 29
FOR_A_FUNCTION = (TRACING, STRUCT_OPS, EXT, LSM)
"""Program types that are loaded for a function, or a struct, of the kernel."""


@dataclass(frozen=True)
class Section:
    """What a section says of its program."""

    type: int
    attach_type: int = 0
    flags: int = 0

    @property
    def name(self) -> str:
        """Of the program type, as bpftool writes it: "sched_cls"."""
        from bpfctl.listing import program_type

        return str(program_type(self.type))


def _tracing(attach_type: int) -> tuple[Section, Section]:
    """Without and with sleeping."""
    return Section(TRACING, attach_type), Section(TRACING, attach_type, SLEEPABLE)


_FENTRY, _FENTRY_S = _tracing(24)
_FEXIT, _FEXIT_S = _tracing(25)
_FMOD_RET, _FMOD_RET_S = _tracing(26)
_FSESSION, _FSESSION_S = _tracing(58)
_ITER, _ITER_S = _tracing(28)
_SOCK_ADDR = {
    "bind4": 8, "bind6": 9, "connect4": 10, "connect6": 11, "connect_unix": 49,
    "sendmsg4": 14, "sendmsg6": 15, "sendmsg_unix": 50, "recvmsg4": 19, "recvmsg6": 20,
    "recvmsg_unix": 51, "getpeername4": 29, "getpeername6": 30, "getpeername_unix": 52,
    "getsockname4": 31, "getsockname6": 32, "getsockname_unix": 53,
}  # fmt: skip

_SECTIONS: dict[str, Section] = {
    "socket": Section(1),
    "sk_reuseport": Section(21, 39),
    "sk_reuseport/migrate": Section(21, 40),
    **dict.fromkeys(("kprobe", "kretprobe", "ksyscall", "kretsyscall"), Section(2)),
    **dict.fromkeys(("uprobe", "uretprobe", "usdt"), Section(2)),
    **dict.fromkeys(("uprobe.s", "uretprobe.s", "usdt.s"), Section(2, 0, SLEEPABLE)),
    **dict.fromkeys(("kprobe.multi", "kretprobe.multi"), Section(2, 42)),
    "kprobe.session": Section(2, 56),
    **dict.fromkeys(("uprobe.multi", "uretprobe.multi"), Section(2, 48)),
    **dict.fromkeys(("uprobe.multi.s", "uretprobe.multi.s"), Section(2, 48, SLEEPABLE)),
    "uprobe.session": Section(2, 57),
    "uprobe.session.s": Section(2, 57, SLEEPABLE),
    **dict.fromkeys(("tc", "classifier"), Section(3)),
    **dict.fromkeys(("tc/ingress", "tcx/ingress"), Section(3, 46)),
    **dict.fromkeys(("tc/egress", "tcx/egress"), Section(3, 47)),
    "netkit/primary": Section(3, 54),
    "netkit/peer": Section(3, 55),
    "action": Section(4),
    **dict.fromkeys(("tracepoint", "tp"), Section(5)),
    "xdp": Section(6, 37),
    "xdp.frags": Section(6, 37, XDP_FRAGS),
    "xdp/devmap": Section(6, 33),
    "xdp.frags/devmap": Section(6, 33, XDP_FRAGS),
    "xdp/cpumap": Section(6, 35),
    "xdp.frags/cpumap": Section(6, 35, XDP_FRAGS),
    "perf_event": Section(7),
    "cgroup/skb": Section(8),
    "cgroup_skb/ingress": Section(8, 0),
    "cgroup_skb/egress": Section(8, 1),
    **dict.fromkeys(("cgroup/sock", "cgroup/sock_create"), Section(9, 2)),
    "cgroup/sock_release": Section(9, 34),
    "cgroup/post_bind4": Section(9, 12),
    "cgroup/post_bind6": Section(9, 13),
    "lwt_in": Section(10),
    "lwt_out": Section(11),
    "lwt_xmit": Section(12),
    "sockops": Section(13, 3),
    "sk_skb": Section(14),
    "sk_skb/stream_parser": Section(14, 4),
    "sk_skb/stream_verdict": Section(14, 5),
    "sk_skb/verdict": Section(14, 38),
    "cgroup/dev": Section(15, 6),
    "sk_msg": Section(16, 7),
    **dict.fromkeys(("raw_tracepoint", "raw_tp"), Section(17)),
    **{f"cgroup/{call}": Section(18, number) for call, number in _SOCK_ADDR.items()},
    "lwt_seg6local": Section(19),
    "lirc_mode2": Section(20, 16),
    "flow_dissector": Section(22, 17),
    "cgroup/sysctl": Section(23, 18),
    **dict.fromkeys(("raw_tracepoint.w", "raw_tp.w"), Section(24)),
    "cgroup/getsockopt": Section(25, 21),
    "cgroup/setsockopt": Section(25, 22),
    "tp_btf": Section(TRACING, 23),
    "fentry": _FENTRY,
    "fentry.s": _FENTRY_S,
    "fexit": _FEXIT,
    "fexit.s": _FEXIT_S,
    "fmod_ret": _FMOD_RET,
    "fmod_ret.s": _FMOD_RET_S,
    "fsession": _FSESSION,
    "fsession.s": _FSESSION_S,
    "iter": _ITER,
    "iter.s": _ITER_S,
    "struct_ops": Section(STRUCT_OPS),
    "struct_ops.s": Section(STRUCT_OPS, 0, SLEEPABLE),
    "freplace": Section(EXT),
    "lsm": Section(LSM, 27),
    "lsm.s": Section(LSM, 27, SLEEPABLE),
    "lsm_cgroup": Section(LSM, 43),
    "sk_lookup": Section(30, 36),
    "syscall": Section(31, 0, SLEEPABLE),
    "netfilter": Section(32, 45),
}


def split(section: str) -> tuple[str, str]:
    """(name, what follows behind its slash) of a section; of an unknown one both empty."""
    name = section.removeprefix("?")
    if name in _SECTIONS:
        return name, ""
    head, _, extras = name.partition("/")
    return (head, extras) if head in _SECTIONS else ("", "")


def meaning(section: str) -> Section | None:
    """What a section says; None: no section that libbpf knows."""
    return _SECTIONS.get(split(section)[0])
