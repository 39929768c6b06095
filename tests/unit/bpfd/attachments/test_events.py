# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfd.attachments import events
from bpfd.kernel.constants import LinkType
from bpfd.kernel.holders import KINDS, Opened
from bpfd.kernel.info import LinkInfo
from bpfd.kernel.syscall import EventProgram

TRACEPOINT = EventProgram(7, 1, "sched_switch", 0, 0)
UPROBE = EventProgram(8, 4, "/bin/x", 0x40, 0)
SAMPLE = EventProgram(0, -1, "", 0, 0)


def link(number: int, program: int, kind: int, name: str = "", offset: int = 0) -> LinkInfo:
    return LinkInfo(
        LinkType.PERF_EVENT, number, program, perf_type=kind, target_name=name, offset=offset
    )


def test_events_without_links() -> None:
    found = events.sort({TRACEPOINT: [(1, 3), (2, 3)]}, [], {})
    assert found.others == {TRACEPOINT: [(1, 3), (2, 3)]}
    assert not found.of_links


def test_a_process_keeps_the_event_of_its_link() -> None:
    told = {UPROBE: [(1, 3), (2, 9)]}
    found = events.sort(told, [link(5, 8, 1, "/bin/x", 0x40)], {5: [(1, 4)]})
    assert found.of_links == {5: [(1, 3)]}
    assert found.others == {UPROBE: [(2, 9)]}


def test_a_child_has_both_again() -> None:
    told = {TRACEPOINT: [(1, 3), (2, 3)]}
    found = events.sort(told, [link(5, 7, 5, "sched_switch")], {5: [(1, 4), (2, 4)]})
    assert found.of_links == {5: [(1, 3), (2, 3)]}
    assert not found.others


def test_one_link_for_each_cpu() -> None:
    told = {SAMPLE: [(1, 3), (1, 5), (1, 7)]}
    infos = [link(5, 7, 6), link(6, 7, 6)]
    found = events.sort(told, infos, {5: [(1, 4)], 6: [(1, 6)]})
    assert found.of_links == {5: [(1, 3)], 6: [(1, 5)]}
    assert found.others == {SAMPLE: [(1, 7)]}


def test_another_place_is_not_the_links() -> None:
    for other in (
        link(5, 8, 1, "/bin/x", 0x41),
        link(5, 8, 2, "/bin/x", 0x40),
        link(5, 9, 1, "/bin/x", 0x40),
    ):
        found = events.sort({UPROBE: [(1, 3)]}, [other], {5: [(1, 4)]})
        assert found.others == {UPROBE: [(1, 3)]}


def test_a_kernel_that_tells_nothing_of_perf_links() -> None:
    found = events.sort({UPROBE: [(1, 3)]}, [link(5, 8, 0)], {5: [(1, 4)]})
    assert found.of_links == {5: [(1, 3)]}


def test_raw_tracepoints_are_their_own_events() -> None:
    info = LinkInfo(LinkType.RAW_TRACEPOINT, 9, 7, target_name="sys_enter")
    assert events.sort({}, [info], {9: [(1, 3)]}).of_links == {9: [(1, 3)]}


def test_points() -> None:
    point = events.point_of
    assert point(TRACEPOINT).tracepoint.name == "sched_switch"
    assert point(UPROBE).uprobe.file_offset == 0x40
    assert point(EventProgram(1, 5, "/bin/x", 1, 0)).uprobe.ret
    assert point(EventProgram(1, 2, "tcp_v4_rcv", 4, 0)).kprobe.function == "tcp_v4_rcv"
    assert point(EventProgram(1, 3, "tcp_v4_rcv", 0, 0)).kprobe.ret
    assert point(EventProgram(1, 2, "", 0, 0xFFFF0000)).kprobe.address == 0xFFFF0000
    assert point(SAMPLE).WhichOneof("point") == "perf_event"


def test_one_attachment_for_each_place() -> None:
    opened = Opened({kind: {} for kind in KINDS}, names={1: "tracer"})
    (found,) = events.attachments({UPROBE: [(1, 3), (1, 5)]}, opened)
    assert [(each.pid, each.fd) for each in found.events] == [(1, 3), (1, 5)]
    assert [(each.pid, each.comm) for each in found.holders] == [(1, "tracer")]
    assert (found.program_id, found.target_name, found.offset) == (8, "/bin/x", 0x40)
