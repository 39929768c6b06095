# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.visible import programs
from bpfctl.visible.programs import Filter, shortened, size

from bpfd.v1 import common_pb2, links_pb2
from tests.unit.bpfctl.visible.machines import BLUE, HOME, machine, program, tcx, xdp

PROGRAMS = [
    program(7, "count_all", holders=[common_pb2.Holder(pid=11, comm="loader")], map_ids=[3]),
    program(8, "drop_all", kind=3, object="own", pinned_paths=["/sys/fs/bpf/d"]),
    program(9, "idle", kind=17),
]
MAPS = [common_pb2.KernelMap(id=3, name="counters_of_all", type=common_pb2.MAP_TYPE_HASH)]
MACHINE = machine(
    xdp(7, HOME, "eth0", 1),
    xdp(7, BLUE, "eth1", 2),
    xdp(7, BLUE, "eth2", 2),
    tcx(8, 1, 55),
    programs=PROGRAMS,
    maps=MAPS,
)


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(), [7, 8, 9]),
        (Filter(types=["xdp"]), [7]),
        (Filter(types=["xdp", "sched_cls"]), [7, 8]),
        (Filter(pid=11), [7]),
        (Filter(pid=100), [8]),  # by its link alone
        (Filter(pid=1), []),
        (Filter(name="*_all"), [7, 8]),
        (Filter(name="DROP*"), []),
        (Filter(ours=True), [8]),
        (Filter(ours=False), [7, 9]),
        (Filter(types=["xdp"], ours=True), []),
    ],
)
def test_filters(wanted: Filter, ids: list[int]) -> None:
    assert [row["id"] for row in programs.rows(MACHINE, wanted)] == ids


def test_full_row() -> None:
    row = programs.rows(MACHINE, Filter(types=["sched_cls"]))[0]
    assert row["held_by"] == [{"pid": 100, "comm": "proxy", "by": "link 55"}]
    assert [each["link_id"] for each in row["attached"]] == [55]
    assert row["maps"] == []
    row = programs.rows(MACHINE, Filter(types=["xdp"]))[0]
    assert row["maps"] == [{"id": 3, "name": "counters_of_all", "type": "hash"}]
    assert [each["ifname"] for each in row["attached"]] == ["eth0", "eth1", "eth2"]


def test_compact_and_wide() -> None:
    count, drop, idle = programs.table_rows(MACHINE, Filter(), wide=False)
    assert count["attached"] == "xdp:eth0, xdp:eth1@blue +1"
    assert count["held_by"] == "loader[11]"
    assert count["maps"] == "counters_of_all"
    assert drop["held_by"] == "proxy[100]"
    assert idle["attached"] == ""
    wide = programs.table_rows(MACHINE, Filter(), wide=True)[0]
    assert wide["attached"].endswith("; xdp:eth2,mode=generic,netns=blue")
    assert set(programs.COMPACT) | set(programs.WIDE) <= wide.keys()


def test_a_pin_stands_for_a_holder_where_there_is_none() -> None:
    pinned = program(8, "x", pinned_paths=["/sys/fs/bpf/d"])
    told = machine(programs=[pinned])
    assert programs.table_rows(told, Filter(), wide=False)[0]["held_by"] == "/sys/fs/bpf/d"
    assert programs.table_rows(told, Filter(), wide=True)[0]["held_by"] == ""


def test_places_of_unknown_programs_come_last() -> None:
    route = links_pb2.Attachment(member="x.o:[lwt]", target_name="xmit")
    route.point.lwt.prefix = "10.0.0.0/8"
    told = machine(route, programs=PROGRAMS)
    last = programs.table_rows(told, Filter(), wide=False)[-1]
    assert (last["id"], last["name"]) == (None, "x.o:[lwt]")
    assert last["attached"] == "lwt,prefix=10.0.0.0/8,xmit"
    assert [row["id"] for row in programs.rows(told, Filter(types=["xdp"]))] == [7]


def test_what_runs_from_above_is_attached_elsewhere() -> None:
    above = links_pb2.Attachment(program_id=9, inherited=True)
    assert programs.rows(machine(above, programs=PROGRAMS), Filter())[2]["attached"] == []


def test_cells() -> None:
    assert shortened([], 2) == ""
    assert shortened(["a", "b"], 2) == "a, b"
    assert shortened(["a", "b", "c", "d"], 2) == "a, b +2"
    sizes = [0, 1023, 1024, 4096, 10 << 10, 1 << 20, 5 << 30, 5000 << 30]
    assert [size(each) for each in sizes] == [
        *("0", "1023", "1.0K", "4.0K", "10K", "1.0M", "5.0G", "5000G")
    ]
