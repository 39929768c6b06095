# SPDX-License-Identifier: Apache-2.0
"""From a link's information to an attach point."""

from __future__ import annotations

import pytest

from bpfd import errors
from bpfd.attach.adopt import adopt
from bpfd.attach.found import find_point
from bpfd.attach.told import point_of
from bpfd.kernel.constants import AttachType, LinkType, ProgType
from bpfd.kernel.info import LinkInfo
from bpfd.v1 import attach_pb2, common_pb2


def info(kind: LinkType, **fields: object) -> LinkInfo:
    return LinkInfo(kind, 1, 2, **fields)  # type: ignore[arg-type]


def interface(ifindex: int) -> common_pb2.Interface:
    return common_pb2.Interface(ifindex=ifindex)


CASES = [
    (
        info(LinkType.XDP, ifindex=7),
        0,
        attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=interface(7))),
    ),
    (
        info(LinkType.TCX, ifindex=7, attach_type=AttachType.TCX_EGRESS),
        0,
        attach_pb2.AttachPoint(
            tc=attach_pb2.Tc(
                interface=interface(7),
                method=attach_pb2.TC_METHOD_TCX,
                direction=attach_pb2.TC_DIRECTION_EGRESS,
            )
        ),
    ),
    (
        info(LinkType.CGROUP, cgroup_id=99, attach_type=AttachType.CGROUP_INET_INGRESS),
        0,
        attach_pb2.AttachPoint(
            cgroup_skb=attach_pb2.CgroupSkb(
                cgroup=common_pb2.Cgroup(id=99),
                direction=attach_pb2.CGROUP_SKB_DIRECTION_INGRESS,
            )
        ),
    ),
    (
        info(LinkType.CGROUP, cgroup_id=99, attach_type=AttachType.CGROUP_SOCK_OPS),
        0,
        attach_pb2.AttachPoint(sock_ops=attach_pb2.SockOps(cgroup=common_pb2.Cgroup(id=99))),
    ),
    (
        info(LinkType.CGROUP, cgroup_id=99, attach_type=AttachType.CGROUP_SETSOCKOPT),
        0,
        attach_pb2.AttachPoint(
            cgroup_sockopt=attach_pb2.CgroupSockopt(cgroup=common_pb2.Cgroup(id=99), set=True)
        ),
    ),
    (
        info(LinkType.CGROUP, cgroup_id=99, attach_type=AttachType.CGROUP_UNIX_CONNECT),
        0,
        attach_pb2.AttachPoint(
            cgroup_sock_addr=attach_pb2.CgroupSockAddr(
                cgroup=common_pb2.Cgroup(id=99),
                hook=attach_pb2.CGROUP_SOCK_ADDR_HOOK_CONNECT_UNIX,
            )
        ),
    ),
    (
        info(LinkType.CGROUP, cgroup_id=99, attach_type=AttachType.LSM_CGROUP),
        0,
        attach_pb2.AttachPoint(
            lsm_cgroup=attach_pb2.LsmCgroup(cgroup=common_pb2.Cgroup(id=99))
        ),
    ),
    (
        info(LinkType.SOCKMAP, map_id=9, attach_type=AttachType.SK_MSG_VERDICT),
        0,
        attach_pb2.AttachPoint(sk_msg=attach_pb2.SkMsg(map=common_pb2.MapRef(id=9))),
    ),
    (
        info(LinkType.SOCKMAP, map_id=9, attach_type=AttachType.SK_SKB_STREAM_VERDICT),
        0,
        attach_pb2.AttachPoint(
            sk_skb=attach_pb2.SkSkb(
                map=common_pb2.MapRef(id=9), hook=attach_pb2.SK_SKB_HOOK_STREAM_VERDICT
            )
        ),
    ),
    (
        info(LinkType.NETNS, netns_inode=9, attach_type=AttachType.SK_LOOKUP),
        0,
        attach_pb2.AttachPoint(sk_lookup=attach_pb2.SkLookup()),
    ),
    (
        info(LinkType.NETNS, netns_inode=9, attach_type=AttachType.FLOW_DISSECTOR),
        0,
        attach_pb2.AttachPoint(flow_dissector=attach_pb2.FlowDissector()),
    ),
    (
        info(LinkType.RAW_TRACEPOINT, target_name="sys_enter", cookie=5),
        ProgType.RAW_TRACEPOINT,
        attach_pb2.AttachPoint(
            raw_tracepoint=attach_pb2.RawTracepoint(name="sys_enter", cookie=5)
        ),
    ),
    (
        info(LinkType.RAW_TRACEPOINT, target_name="sys_enter"),
        ProgType.TRACING,
        attach_pb2.AttachPoint(tp_btf=attach_pb2.TpBtf()),
    ),
    (
        info(LinkType.PERF_EVENT, perf_type=2, target_name="/lib/x.so", offset=16, cookie=3),
        0,
        attach_pb2.AttachPoint(
            uprobe=attach_pb2.Uprobe(binary="/lib/x.so", file_offset=16, ret=True, cookie=3)
        ),
    ),
    (
        info(LinkType.PERF_EVENT, perf_type=1, target_name="/lib/x.so", offset=0),
        0,
        attach_pb2.AttachPoint(uprobe=attach_pb2.Uprobe(binary="/lib/x.so", file_offset=0)),
    ),
    (
        info(LinkType.PERF_EVENT, perf_type=5, target_name="sched_switch", cookie=8),
        0,
        attach_pb2.AttachPoint(tracepoint=attach_pb2.Tracepoint(name="sched_switch", cookie=8)),
    ),
    (
        info(LinkType.PERF_EVENT, perf_type=6, event_type=1, event_config=0),
        0,
        attach_pb2.AttachPoint(perf_event=attach_pb2.PerfEvent(type=1, config=0)),
    ),
    (
        info(LinkType.UPROBE_MULTI, target_name="/lib/x.so", flags=1, pid=7),
        0,
        attach_pb2.AttachPoint(
            uprobe_multi=attach_pb2.UprobeMulti(binary="/lib/x.so", ret=True, pid=7)
        ),
    ),
    (
        info(LinkType.ITER, target_name="bpf_map_elem", map_id=9),
        ProgType.TRACING,
        attach_pb2.AttachPoint(iterator=attach_pb2.Iterator(map=common_pb2.MapRef(id=9))),
    ),
    (
        info(LinkType.ITER, target_name="task", tid=8),
        ProgType.TRACING,
        attach_pb2.AttachPoint(iterator=attach_pb2.Iterator(tid=8)),
    ),
    (
        info(LinkType.ITER, target_name="cgroup", cgroup_id=99, cgroup_order=2),
        ProgType.TRACING,
        attach_pb2.AttachPoint(
            iterator=attach_pb2.Iterator(cgroup=common_pb2.Cgroup(id=99), cgroup_order=2)
        ),
    ),
    (
        info(LinkType.STRUCT_OPS, map_id=9),
        0,
        attach_pb2.AttachPoint(struct_ops=attach_pb2.StructOps(map=common_pb2.MapRef(id=9))),
    ),
    (
        info(LinkType.NETFILTER, protocol_family=2, hook=1, priority=-5, flags=1),
        0,
        attach_pb2.AttachPoint(
            netfilter=attach_pb2.Netfilter(
                protocol_family=2, hook=1, priority=-5, defragment=True
            )
        ),
    ),
]


@pytest.mark.parametrize(("link", "program_type", "point"), CASES)
def test_point_of(link: LinkInfo, program_type: int, point: attach_pb2.AttachPoint) -> None:
    assert point_of(link, program_type) == point


@pytest.mark.parametrize(
    "link",
    [
        info(LinkType.PERF_EVENT),
        info(LinkType.UNSPEC),
        info(LinkType.CGROUP, cgroup_id=1, attach_type=999),
        info(LinkType.CGROUP, cgroup_id=1),
    ],
)
def test_what_is_not_told_is_an_empty_point(link: LinkInfo) -> None:
    assert point_of(link).WhichOneof("point") is None


def test_nothing_cannot_be_adopted() -> None:
    with pytest.raises(errors.InvalidArgument, match="without links"):
        adopt([])
    assert find_point([]) == attach_pb2.AttachPoint()
