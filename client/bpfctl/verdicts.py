# SPDX-License-Identifier: Apache-2.0
"""What the number that a program returns means, by the type of the program.

Names are the kernel's: enum xdp_action, TC_ACT_*, enum sk_action, enum bpf_ret_code of
include/uapi/linux/bpf.h and linux/pkt_cls.h, NF_* of linux/netfilter.h.
"""

from __future__ import annotations

_XDP = {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}
_TC = {
    -1: "TC_ACT_UNSPEC",
    0: "TC_ACT_OK",
    1: "TC_ACT_RECLASSIFY",
    2: "TC_ACT_SHOT",
    3: "TC_ACT_PIPE",
    4: "TC_ACT_STOLEN",
    5: "TC_ACT_QUEUED",
    6: "TC_ACT_REPEAT",
    7: "TC_ACT_REDIRECT",
    8: "TC_ACT_TRAP",
}
_LWT = {0: "BPF_OK", 2: "BPF_DROP", 7: "BPF_REDIRECT", 128: "BPF_LWT_REROUTE"}
_SKB = {0: "SK_DROP", 1: "SK_PASS"}
# The second bit tells TCP of congestion: cgroup_bpf_run_filter_skb() in kernel/bpf/cgroup.c.
_CGROUP_SKB = {0: "drop", 1: "pass", 2: "drop, congested", 3: "pass, congested"}

_NAMES: dict[str, dict[int, str]] = {
    "xdp": _XDP,
    "sched_cls": _TC,
    "sched_act": _TC,
    "cgroup_skb": _CGROUP_SKB,
    "lwt_in": _LWT,
    "lwt_out": _LWT,
    "lwt_xmit": _LWT,
    "lwt_seg6local": _LWT,
    "flow_dissector": {0: "BPF_OK", 2: "BPF_DROP", 129: "BPF_FLOW_DISSECTOR_CONTINUE"},
    "sk_lookup": _SKB,
    "netfilter": {0: "NF_DROP", 1: "NF_ACCEPT"},
}


def number(value: int) -> int:
    """The 32 bits that the kernel gives as what the program returned, an int of C.

    >>> number(0xFFFFFFFF)
    -1
    """
    return value - (1 << 32) if value >= 1 << 31 else value


def verdict(program_type: str | int, value: int) -> str:
    """The name of a returned value (unsigned, as the kernel gives it); else its number.

    >>> verdict("xdp", 1), verdict("sched_cls", 0xFFFFFFFF), verdict("xdp", 77)
    ('XDP_DROP', 'TC_ACT_UNSPEC', '77')
    """
    signed = number(value)
    if program_type == "socket_filter":
        return f"keep {value} bytes" if value else "drop"
    return _NAMES.get(str(program_type), {}).get(signed, str(signed))


def known(program_type: str | int) -> list[str]:
    """Names that programs of this type can give; empty: they return numbers."""
    return list(_NAMES.get(str(program_type), {}).values())
