# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfctl import listing

from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2


def test_names_are_bpftools() -> None:
    assert listing.program_type(common_pb2.PROGRAM_TYPE_SCHED_CLS) == "sched_cls"
    assert listing.map_type(common_pb2.MAP_TYPE_LRU_PERCPU_HASH) == "lru_percpu_hash"
    # Values of include/uapi/linux/bpf.h at a few places of the enum.
    assert listing.attach_type(0) == "cgroup_inet_ingress"
    assert listing.attach_type(23) == "trace_raw_tp"
    assert listing.attach_type(37) == "xdp"
    assert listing.attach_type(41) == "perf_event"
    assert listing.attach_type(46) == "tcx_ingress"
    assert listing.attach_type(55) == "netkit_peer"


def test_types_of_later_kernels_are_numbers() -> None:
    assert listing.program_type(4000) == 4000
    assert listing.map_type(4000) == 4000
    assert listing.attach_type(4000) == 4000


def test_program_row_leaves_out_what_is_not_there() -> None:
    program = common_pb2.KernelProgram(
        id=7, type=common_pb2.PROGRAM_TYPE_XDP, name="count", tag=bytes(range(8))
    )
    row = listing.program_row(program)
    assert row["tag"] == "0001020304050607"
    assert {"bytes_jited", "map_ids", "pids", "run_time_ns", "object"}.isdisjoint(row)
    program.run_count, program.run_time_ns = 3, 900
    program.holders.add(pid=1, comm="init")
    row = listing.program_row(program)
    assert (row["run_cnt"], row["run_time_ns"]) == (3, 900)
    assert row["pids"] == [{"pid": 1, "comm": "init"}]


def test_link_row_names_tracepoints_as_bpftool_does() -> None:
    link = links_pb2.KernelLink(
        id=1, type=1, type_name="raw_tracepoint", program_id=2, target_name="sys_enter"
    )
    assert listing.link_row(link)["tp_name"] == "sys_enter"
    assert "attach_type" not in listing.link_row(link)
    link.attach_type = 0
    assert listing.link_row(link)["attach_type"] == "cgroup_inet_ingress"


def test_session_id_is_not_shown() -> None:
    message = objects_pb2.Object(name="x", session_label="a script")
    message.lifetime.session = "secret"
    row = listing.object_row(message)
    assert row["lifetime"] == "session"
    assert row["session_label"] == "a script"
    assert "secret" not in str(row)


def test_own_link_row_says_where() -> None:
    link = objects_pb2.Link(name="x/count", object="x", program="count", program_id=7)
    link.point.CopyFrom(
        attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=common_pb2.Interface(name="eth0")))
    )
    assert listing.own_link_row(link)["point"] == "xdp:eth0"


def test_link_row_of_others_says_where_as_far_as_the_kernel_tells() -> None:
    link = links_pb2.KernelLink(id=1, type=10, type_name="netfilter", program_id=2)
    assert "point" not in listing.link_row(link)
    link.point.netfilter.protocol_family, link.point.netfilter.hook = 2, 1
    link.point.netfilter.priority = -5
    assert listing.link_row(link)["point"] == "netfilter,ipv4,local_in,priority=-5"
