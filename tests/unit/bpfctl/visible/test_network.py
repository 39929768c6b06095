# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.errors import NotFound
from bpfctl.visible import network
from bpfctl.visible.tree import drawn

from bpfd.v1 import links_pb2
from tests.unit.bpfctl.visible.machines import (
    BLUE,
    HOME,
    egress,
    filtered,
    machine,
    program,
    tcx,
    xdp,
)


def dissector(number: int) -> links_pb2.Attachment:
    message = links_pb2.Attachment(program_id=number, netns_inode=HOME)
    message.point.flow_dissector.SetInParent()
    return message


def firewall(number: int, hook: int, priority: int) -> links_pb2.Attachment:
    message = links_pb2.Attachment(program_id=number, link_id=number + 100)
    message.point.netfilter.protocol_family = 2
    message.point.netfilter.hook = hook
    message.point.netfilter.priority = priority
    return message


PROGRAMS = [program(number, f"p{number}") for number in range(1, 9)]
MACHINE = machine(
    dissector(5),
    filtered(4, direct_action=True, chain=2),
    tcx(2, 1, 51),
    tcx(3, 2, 52),
    xdp(1, HOME, "eth0", 1),
    xdp(6, BLUE, "lo", 2),
    firewall(8, 1, 10),
    firewall(7, 1, -10),
    egress(5, "/sys/fs/cgroup/x"),
    programs=PROGRAMS,
)


def test_in_the_order_of_running() -> None:
    found = [(row["hook"], row["prog_id"]) for row in network.rows(MACHINE)]
    assert found == [
        ("xdp native", 1),
        ("tcx ingress", 2),
        ("tcx ingress", 3),
        ("tc ingress", 4),
        ("flow_dissector", 5),
        ("xdp generic", 6),
        ("netfilter", 7),
        ("netfilter", 8),
    ]


def test_lines() -> None:
    assert list(drawn(network.lines(MACHINE))) == [
        f"network namespace of the daemon net:[{HOME}] init[1]",
        "├─ eth0 (2)",
        "│  ├─ xdp native       1 p1",
        "│  ├─ tcx ingress 1.   2 p2, link 51 of proxy[100]",
        "│  ├─ tcx ingress 2.   3 p3, link 52 of proxy[100]",
        "│  └─ tc ingress 1.    4 p4, priority 5 handle 0x1 all, direct-action, chain 2",
        "└─ flow_dissector   5 p5",
        f"network namespace blue net:[{BLUE}]",
        "└─ lo (2)",
        "   └─ xdp generic      6 p6",
        "network namespace unknown (the kernel does not tell that of netfilter links)",
        "├─ netfilter        7 p7, ipv4 local_in priority -10, link 107",
        "└─ netfilter        8 p8, ipv4 local_in priority 10, link 108",
    ]


@pytest.mark.parametrize("name", ["blue", "/run/netns/blue", str(BLUE)])
def test_one_namespace(name: str) -> None:
    assert [row["prog_id"] for row in network.rows(MACHINE, name)] == [6]


def test_a_namespace_by_a_process() -> None:
    assert [each.inode for each in network.chosen(MACHINE, "pid:1")] == [HOME]


def test_there_is_no_such_namespace() -> None:
    with pytest.raises(NotFound) as error:
        network.rows(MACHINE, "bleu")
    assert error.value.near == ["blue"]


def test_an_empty_namespace_is_shown_when_asked_for() -> None:
    empty = machine()
    assert list(network.lines(empty)) == []
    assert list(network.lines(empty, "blue")) == [(0, f"network namespace blue net:[{BLUE}]")]


def test_detached_links_are_of_no_namespace() -> None:
    gone = tcx(2, 1, 51)
    gone.netns_inode, gone.detached = 0, True
    assert network.rows(machine(gone)) == []
