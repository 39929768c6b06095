# SPDX-License-Identifier: Apache-2.0
"""A machine with every kind of attachment at work, as bpftool tells it and as we do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from bpfctl.listing import attach_type, map_row, map_type, program_type
from bpfctl.visible import Machine, cgroups, network, programs
from bpfctl.visible.places import where

from bpfd.kernel import info
from bpfd.kernel.constants import AttachType
from bpfd.v1 import attach_pb2, links_pb2
from tests.kernel.busy_machine import STEPS, Busy, inode, place_of
from tests.kernel.hooks_support import needs_root
from tests.kernel.visible_support import (
    KNOWS_TCX,
    Row,
    Seen,
    bpftool,
    differences,
    look,
    their_net,
    version,
)

pytestmark = needs_root


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with look() as found:
        yield found


def test_this_kernel_has_most_of_it(seen: Seen) -> None:
    """A step that fails everywhere would make the comparison an empty one."""
    needed = {"xdp_link", "xdp_netlink", "clsact", "cgroup_attach", "raw_tracepoint", "sockmap"}
    assert needed <= set(seen.busy.done), seen.busy.missing
    assert len(seen.busy.done) >= 15, seen.busy.missing


@pytest.mark.parametrize("step", STEPS)
def test_kinds_that_are_there(seen: Seen, step: str) -> None:
    """What was made is compared below; what this kernel lacks is counted here."""
    if step in seen.busy.missing:
        pytest.skip(f"{step}: {seen.busy.missing[step]}")
    assert step in seen.busy.done


def test_programs_are_those_of_bpftool(seen: Seen) -> None:
    theirs = {each["id"]: each for each in bpftool("prog", "show")}
    rows = programs.rows(seen.machine, programs.Filter())
    ours = {row["id"]: row for row in rows if row["id"]}
    assert seen.busy.program_ids() <= theirs.keys() & ours.keys()
    compared = 0
    for number in seen.busy.program_ids():
        expected, row = theirs[number], ours[number]
        if isinstance(expected["type"], int):  # newer than bpftool 7.1
            assert program_type(expected.pop("type")) == row["type"]
        expected.pop("pids", None)  # only of a bpftool that was built with iterators
        expected.pop("recursion_misses", None)  # it goes on
        assert not differences(expected, row), expected["name"]
        compared += 1
    assert compared > 40
    held = ours[seen.busy.id("hooks", "xdp_count")]["held_by"]
    assert {(each["pid"], each["by"].split()[0]) for each in held} >= {
        (os.getpid(), "program"),
        (os.getpid(), "link"),
    }


def test_maps_are_those_of_bpftool(seen: Seen) -> None:
    ours = {each.id: map_row(each) for each in seen.machine.answer.maps}
    mine = {item.id for each in seen.busy.loaded.values() for item in each.maps.values()}
    assert len(mine) > 8
    theirs = {each["id"]: each for each in bpftool("map", "show")}
    assert mine <= theirs.keys()
    for number in mine:
        expected: Any = theirs[number]
        if expected.get("btf_id") != ours[number].get("btf_id"):
            # In a list it shows btf_id of the map before for maps that have none.
            expected = bpftool("map", "show", "id", str(number))
        if isinstance(expected["type"], int):
            assert map_type(expected.pop("type")) == ours[number]["type"]
        expected.pop("pids", None)
        if not ours[number].get("frozen"):
            ours[number]["frozen"] = 0
        assert not differences(expected, ours[number]), expected


def _is_link(file: str) -> bool:
    """Else it is a perf event."""
    return "bpf_link" in file or "-link" in file


def test_links_are_those_of_bpftool(seen: Seen) -> None:
    theirs = {each["id"]: each for each in bpftool("link", "show")}
    attached = {each.link_id: each for each in seen.machine.attachments}
    compared, apart = 0, {}
    for what, fd in seen.busy.links.items():
        if not _is_link(os.readlink(f"/proc/self/fd/{fd}")):
            continue
        with open(f"/proc/self/fdinfo/{fd}") as file:
            number = next(int(line.split()[1]) for line in file if line.startswith("link_id"))
        expected, row = theirs[number], seen.links[number]
        if isinstance(expected["type"], int):
            assert expected.pop("type") == attached[number].link_type
        if isinstance(kind := expected.get("attach_type"), int):
            expected["attach_type"] = attach_type(kind)
        expected.pop("pids", None)
        # Of the interface with this number in bpftool's own namespace, whatever it is.
        expected.pop("devname", None)
        if found := differences(expected, row):
            apart[what] = found
        there = attached[number]
        # A struct_ops link has no program; its attachments have those of the table.
        assert there.program_id == expected["prog_id"] or not expected["prog_id"]
        assert there.method == links_pb2.ATTACHMENT_METHOD_LINK
        assert [each.pid for each in there.holders] == [os.getpid()]
        compared += 1
    assert not apart
    assert compared > 20


def our_net(machine: Machine, number: int) -> tuple[set[Any], set[Any], set[Any]]:
    xdp, tc, dissectors = set(), set(), set()
    for row in network.rows(machine, str(number)):
        kind, _, rest = row["hook"].partition(" ")
        if kind == "xdp":
            xdp.add((row["ifindex"], rest, row["prog_id"]))
        elif kind == "tc":
            found = row["filter"]
            side = f"clsact/{rest}" if found["qdisc"] == "clsact" else found["qdisc"]
            tc.add((row["ifname"], row["ifindex"], side, found["name"], row["prog_id"], 0))
        elif kind in ("tcx", "netkit") and version() >= KNOWS_TCX:
            place = (row["ifname"], row["ifindex"], f"{kind}/{rest}", row["name"])
            tc.add((*place, row["prog_id"], row.get("link_id", 0)))
        elif kind == "flow_dissector":
            dissectors.add(row["prog_id"])
    return xdp, tc, dissectors


def test_interfaces_are_those_of_bpftool(seen: Seen) -> None:
    for name in (seen.busy.pair.near, seen.busy.pair.far):
        theirs, ours = their_net(name), our_net(seen.machine, inode(name))
        assert ours == theirs
        assert all(theirs[:2]), "nothing was compared"


def test_control_groups_are_those_of_bpftool(seen: Seen) -> None:
    theirs = {
        each["cgroup"]: each["programs"]
        for each in bpftool("cgroup", "tree")
        if each["cgroup"].startswith(seen.busy.cgroup)
    }
    ours = {
        each["cgroup"]: each["programs"]
        for each in cgroups.rows(seen.machine, seen.busy.cgroup)
    }
    assert ours.keys() == theirs.keys() == {seen.busy.cgroup, seen.busy.inner}
    for group, expected in theirs.items():
        assert len(ours[group]) == len(expected)
        by_hook: dict[str, list[Row]] = {}
        for each in ours[group]:
            by_hook.setdefault(each["attach_type"], []).append(each)
        for each in expected:  # of one hook in the order in which they run
            row = by_hook[each["attach_type"]].pop(0)
            known = {name: each[name] for name in ("id", "attach_type", "name", "attach_flags")}
            assert not differences(known, row)


def test_what_is_effective_is_what_bpftool_says(seen: Seen) -> None:
    theirs = {
        each["cgroup"]: [(item["attach_type"], item["id"]) for item in each["programs"]]
        for each in bpftool("cgroup", "tree", seen.busy.cgroup, "effective")
        if each["cgroup"].startswith(seen.busy.cgroup)
    }
    ours = {
        each["cgroup"]: [(item["attach_type"], item["id"]) for item in each["programs"]]
        for each in cgroups.rows(seen.effective, seen.busy.cgroup)
    }
    assert {group: sorted(found) for group, found in ours.items()} == {
        group: sorted(found) for group, found in theirs.items()
    }
    egress = [number for hook, number in theirs[seen.busy.inner] if "egress" in hook]
    assert egress == [number for hook, number in ours[seen.busy.inner] if "egress" in hook]
    above = [each for each in seen.effective.attachments if each.inherited]
    assert seen.busy.id("hooks", "cgroup_drop") in {each.program_id for each in above}


def test_perf_events_are_those_of_bpftool(seen: Seen) -> None:
    ours = {
        (event.pid, event.fd): each
        for each in seen.machine.attachments
        for event in each.events
    }
    theirs = [each for each in bpftool("perf", "show") if each["pid"] == os.getpid()]
    kinds = set()
    for expected in theirs:
        found = ours[expected["pid"], expected["fd"]]
        assert found.program_id == expected["prog_id"]
        place = expected.get("tracepoint") or expected.get("func") or expected.get("filename")
        assert found.target_name == place
        assert found.offset == expected.get("offset", 0)
        kind = found.point.WhichOneof("point") or ""
        told = {"uretprobe": "uprobe", "kretprobe": "kprobe"}
        wanted = told.get(expected["fd_type"], expected["fd_type"])
        assert kind == wanted or (kind, wanted) == ("tp_btf", "raw_tracepoint")
        kinds.add(expected["fd_type"])
    assert kinds >= {"raw_tracepoint", "tracepoint", "uprobe", "uretprobe", "kretprobe"} & set(
        _kinds_done(seen.busy)
    )


def _kinds_done(busy: Busy) -> Iterator[str]:
    for step, kind in (
        ("raw_tracepoint", "raw_tracepoint"),
        ("tracepoint_event", "tracepoint"),
        ("uprobe_link", "uprobe"),
        ("uretprobe_event", "uretprobe"),
        ("kretprobe_event", "kretprobe"),
    ):
        if step in busy.done:
            yield kind


def test_order_on_tcx(seen: Seen) -> None:
    if "tcx" not in seen.busy.done:
        pytest.skip(seen.busy.missing["tcx"])
    first, second = seen.of_link("tcx first"), seen.of_link("tcx second")
    assert (first.position, second.position) == (1, 2)
    assert first.revision == second.revision > 1
    assert first.interface == "hk0"
    assert first.netns_inode == inode(seen.busy.pair.near)
    assert first.point.tc.interface.netns.name == seen.busy.pair.near
    hooks = [
        (row["hook"], row["prog_id"])
        for row in network.rows(seen.machine, seen.busy.pair.near)
        if row.get("ifname") == "hk0"
    ]
    count, drop = seen.busy.id("hooks", "tc_count"), seen.busy.id("hooks", "tc_drop")
    assert hooks == [
        ("xdp native", seen.busy.id("hooks", "xdp_count")),
        ("tcx ingress", drop),
        ("tcx ingress", count),
        ("tc ingress", drop),
        ("tc ingress", count),
        ("tcx egress", count),
        ("tc egress", count),
    ]


def test_filters_have_all_that_tc_says(seen: Seen) -> None:
    found = [
        each
        for each in seen.of(seen.busy.id("hooks", "tc_count"))
        if each.method == links_pb2.ATTACHMENT_METHOD_FILTER
    ]
    by_priority = {each.filter.priority: each for each in found}
    assert by_priority.keys() >= {7, 2, 9, 4}
    ingress = by_priority[7]
    assert (ingress.filter.handle, ingress.position) == (3, 2)
    assert ingress.filter.direct_action
    assert ingress.filter.protocol == 3
    assert by_priority[2].filter.protocol == 0x0800
    assert not by_priority[2].filter.direct_action
    assert by_priority[2].filter.class_id == 0x10001
    assert by_priority[9].filter.block == 7
    assert by_priority[9].point.tc.direction == attach_pb2.TC_DIRECTION_INGRESS
    assert by_priority[4].filter.qdisc == "htb"
    assert by_priority[4].point.tc.direction == attach_pb2.TC_DIRECTION_EGRESS


def test_places_without_links(seen: Seen) -> None:
    busy = seen.busy
    near, far = inode(busy.pair.near), inode(busy.pair.far)
    dropped = {
        (each.netns_inode, each.interface, each.point.xdp.mode)
        for each in seen.of(busy.id("hooks", "xdp_drop"))
        if each.method == links_pb2.ATTACHMENT_METHOD_NETLINK
    }
    assert dropped == {
        (near, "lo", attach_pb2.XDP_MODE_GENERIC),
        (far, "hk1", attach_pb2.XDP_MODE_NATIVE),
    }
    by_event = seen.of(busy.id("hooks", "tracepoint_other"))
    if "tracepoint_event" in busy.done:
        assert [each.method for each in by_event] == [links_pb2.ATTACHMENT_METHOD_PERF_EVENT]
        point = by_event[0].point.tracepoint
        assert (point.category, point.name) == ("syscalls", "sys_enter_getpriority")
    sockets = {
        (each.map_id, each.attach_type): each.method
        for each in seen.machine.attachments
        if each.point.WhichOneof("point") in ("sk_msg", "sk_skb")
    }
    maps = busy.loaded["sockmap"].maps
    hashed = sockets[maps["hashed"].id, AttachType.SK_MSG_VERDICT]
    assert hashed == links_pb2.ATTACHMENT_METHOD_PROG_ATTACH
    assert (maps["sockets"].id, AttachType.SK_SKB_STREAM_PARSER) in sockets
    calls = [
        each
        for each in seen.of(busy.id("hooks", "xdp_drop"))
        if each.method == links_pb2.ATTACHMENT_METHOD_MAP_ENTRY
    ]
    assert [(each.member, seen.machine.map_name(each.map_id)) for each in calls] == [
        ("5", "busy_calls")
    ]


def test_samples_of_programs_that_the_kernel_does_not_tell(seen: Seen) -> None:
    if "samples_event" not in seen.busy.done:
        pytest.skip(seen.busy.missing["samples_event"])
    found = [
        each
        for each in seen.machine.attachments
        if seen.busy.sampler in [(told.pid, told.fd) for told in each.events]
    ]
    assert [(each.program_id, each.link_id) for each in found] == [(0, 0)]
    assert found[0].point.WhichOneof("point") == "perf_event"
    assert [each.comm for each in found[0].holders] == ["sleep"]
    (linked,) = seen.of(seen.busy.id("hooks", "sample"))
    assert linked.method == links_pb2.ATTACHMENT_METHOD_LINK


def test_namespaces_hooks_and_routes(seen: Seen) -> None:
    busy = seen.busy
    if "netns_links" in busy.done:
        near = network.rows(seen.machine, busy.pair.near)
        lookups = [row for row in near if row["hook"] == "sk_lookup"]
        assert [row["position"] for row in lookups] == [1, 2]
        assert all(row["link_id"] for row in lookups)
        (dissector,) = (row for row in near if row["hook"] == "flow_dissector")
        assert dissector["method"] == "link"
    far = {row["hook"]: row for row in network.rows(seen.machine, busy.pair.far)}
    if "flow_dissector_attach" in busy.done:
        assert far["flow_dissector"]["method"] == "prog_attach"
    if "route" in busy.done:
        assert far["route"]["point"].startswith("lwt:hk1,prefix=192.0.2.0/24")
        assert far["route"]["target"] == "xmit"
    if "netfilter" in busy.done:
        found = seen.of_link("netfilter").point.netfilter
        assert (found.protocol_family, found.hook, found.priority) == (2, 1, -120)


def test_functions_of_struct_ops(seen: Seen) -> None:
    if "struct_ops" not in seen.busy.done:
        pytest.skip(seen.busy.missing["struct_ops"])
    loaded = seen.busy.loaded["struct_ops"]
    number = loaded.maps["counting"].id
    found = {
        each.member: each.program_id
        for each in seen.machine.attachments
        if each.map_id == number
    }
    assert found == {
        "ssthresh": loaded.programs["cc_ssthresh"].id,
        "cong_avoid": loaded.programs["cc_cong_avoid"].id,
        "undo_cwnd": loaded.programs["cc_undo_cwnd"].id,
    }


def test_uprobe_of_a_link_and_its_event_are_one(seen: Seen) -> None:
    if "uprobe_link" not in seen.busy.done:
        pytest.skip(seen.busy.missing["uprobe_link"])
    (found,) = seen.of(seen.busy.id("hooks", "probe_entry"))
    assert found.method == links_pb2.ATTACHMENT_METHOD_LINK
    event = (os.getpid(), seen.busy.links["uprobe event"])
    assert [(each.pid, each.fd) for each in found.events] == [event]
    path, offset = place_of("sched_get_priority_max")
    assert found.point.uprobe.binary == path
    assert found.point.uprobe.file_offset == offset


FUNCTIONS = {
    "kprobe": "kprobe:notify_change",
    "kprobe multi": "kprobe_multi:vfs_truncate:notify_change",
    "kretprobe multi": "kretprobe_multi:vfs_truncate:notify_change",
    "kprobe session": "kprobe_multi:notify_change",
    "fentry": "fentry:notify_change",
    "fentry cookie": "fentry:vfs_truncate",
    "fentry of module": "fentry:veth_xmit",
    "fexit": "fexit:notify_change",
    "fmod_ret": "fmod_ret:security_task_setnice",
    "fsession": "fsession:notify_change",
    "lsm": "lsm:bpf_lsm_task_setnice",
}
"""Where programs on functions of the kernel are, by the name of the link."""


@pytest.mark.parametrize("what", FUNCTIONS)
def test_functions_of_the_kernel_have_their_names(seen: Seen, what: str) -> None:
    if what not in seen.busy.links:
        pytest.skip(_why_not(seen.busy, what))
    found = seen.of_link(what)
    if not info.link_info(seen.busy.links[what]).perf_type and what == "kprobe":
        pytest.skip("this kernel does not tell where such a link is")
    if what.startswith(("kprobe ", "kretprobe ")) and not found.point.kprobe_multi.functions:
        pytest.skip("this kernel does not tell where such a link is")
    words = FUNCTIONS[what].split(":")
    assert sorted(where(found, seen.machine).split(":")) == sorted(words)
    assert sorted(seen.links[found.link_id]["point"].split(":")) == sorted(words)
    row = programs.full_row(seen.machine.programs[found.program_id], seen.machine)
    assert found.link_id in {each["link_id"] for each in row["attached"]}


def _why_not(busy: Busy, what: str) -> str:
    step = "kprobe_link" if what == "kprobe" else what.replace(" ", "_")
    step = {"fentry_cookie": "fentry", "kretprobe_multi": "kprobe_multi"}.get(step, step)
    return f"{step}: {busy.missing[step]}"


def test_functions_of_programs_have_their_names(seen: Seen) -> None:
    if "fentry_of_program" not in seen.busy.done:
        pytest.skip(seen.busy.missing["fentry_of_program"])
    target = seen.busy.id("freplace", "program")
    entry, extension = seen.of_link("fentry of program"), seen.of_link("freplace")
    assert where(entry, seen.machine) == "fentry:other_verdict"
    row = seen.links[entry.link_id]
    assert row["point"] == f"fentry:other_verdict (of program {target})"
    assert where(extension, seen.machine) == f"freplace:{target},function=verdict"
    assert seen.links[extension.link_id]["point"] == f"freplace:{target},function=verdict"


def test_places_in_files(seen: Seen) -> None:
    if "uprobe_multi" not in seen.busy.done:
        pytest.skip(seen.busy.missing["uprobe_multi"])
    path, first, second = seen.busy.places
    found = seen.of_link("uretprobe multi").point.uprobe_multi
    if not found.binary:
        pytest.skip("this kernel does not tell where such a link is")
    assert (found.binary, list(found.file_offsets)) == (path, [first, second])
    assert (list(found.cookies), found.pid, found.ret) == ([7, 8], os.getpid(), True)


def test_netkit_in_the_order_of_running(seen: Seen) -> None:
    if "netkit" not in seen.busy.done:
        pytest.skip(seen.busy.missing["netkit"])
    rows = network.rows(seen.machine, seen.busy.pair.near)
    found = [(row["hook"], row["name"]) for row in rows if row.get("ifname") == "prim0"]
    assert found == [
        ("netkit primary", "passes"),
        ("netkit primary", "drops"),
        ("netkit peer", "peer_drops"),
    ]
