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


def test_tracing_link_row_has_the_function() -> None:
    link = links_pb2.KernelLink(
        id=1, type_name="tracing", attach_type=24, target_name="vfs_open"
    )
    link.point.tracing.SetInParent()
    assert listing.link_row(link)["point"] == "fentry:vfs_open"
    link.target_program_id = 17
    assert listing.link_row(link)["point"] == "fentry:vfs_open (of program 17)"
    link.target_name = ""
    assert listing.link_row(link)["point"] == "fentry:? (of program 17)"


def test_link_row_of_many_functions_has_each() -> None:
    link = links_pb2.KernelLink(id=1, type_name="kprobe_multi", missed=3, place_count=2)
    link.point.kprobe_multi.functions.extend(["vfs_open", "veth_xmit"])
    link.point.kprobe_multi.ret = True
    link.places.add(address=0x1000, function="vfs_open", cookie=7)
    link.places.add(address=0x2000, function="veth_xmit", module="veth")
    row = listing.link_row(link)
    assert (row["retprobe"], row["func_cnt"], row["missed"]) == (True, 2, 3)
    assert row["funcs"] == [
        {"addr": 0x1000, "func": "vfs_open", "module": None, "cookie": 7},
        {"addr": 0x2000, "func": "veth_xmit", "module": "veth", "cookie": 0},
    ]
    assert row["point"] == "kretprobe_multi:vfs_open:veth_xmit"


def test_link_row_of_many_places_in_a_file() -> None:
    link = links_pb2.KernelLink(id=1, type_name="uprobe_multi", place_count=1)
    link.point.uprobe_multi.binary, link.point.uprobe_multi.pid = "/lib/x.so", 5
    link.places.add(file_offset=64, semaphore_offset=8, cookie=9)
    row = listing.link_row(link)
    assert (row["path"], row["pid"], row["func_cnt"]) == ("/lib/x.so", 5, 1)
    assert row["funcs"] == [{"offset": 64, "ref_ctr_offset": 8, "cookie": 9}]


def test_link_row_of_a_kprobe_that_missed_runs() -> None:
    link = links_pb2.KernelLink(id=1, type_name="perf_event", perf_type=4, missed=2)
    link.target_name, link.address = "vfs_open", 0x1000
    link.point.kprobe.ret = True
    row = listing.link_row(link)
    assert (row["func"], row["addr"], row["retprobe"], row["missed"]) == (
        *("vfs_open", 0x1000),
        *(True, 2),
    )
