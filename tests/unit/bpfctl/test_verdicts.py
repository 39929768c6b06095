# SPDX-License-Identifier: Apache-2.0
"""What programs return, by name."""

from __future__ import annotations

import pytest
from bpfctl.verdicts import known, verdict


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        ("xdp", 1, "XDP_DROP"),
        ("xdp", 5, "5"),
        ("sched_cls", 0xFFFFFFFF, "TC_ACT_UNSPEC"),
        ("sched_act", 2, "TC_ACT_SHOT"),
        ("cgroup_skb", 1, "pass"),
        ("cgroup_skb", 2, "drop, congested"),
        ("socket_filter", 0, "drop"),
        ("socket_filter", 20, "keep 20 bytes"),
        ("flow_dissector", 129, "BPF_FLOW_DISSECTOR_CONTINUE"),
        ("lwt_xmit", 128, "BPF_LWT_REROUTE"),
        ("sk_lookup", 1, "SK_PASS"),
        ("netfilter", 0, "NF_DROP"),
        ("syscall", 0xFFFFFFEA, "-22"),
        (99, 7, "7"),
    ],
)
def test_names(kind: str | int, value: int, name: str) -> None:
    assert verdict(kind, value) == name


def test_names_that_can_be_asked_for() -> None:
    assert "XDP_PASS" in known("xdp")
    assert known("syscall") == []
