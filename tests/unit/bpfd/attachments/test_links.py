# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bpfd.attachments.links import Links, Where, is_detached, where
from bpfd.kernel.constants import AttachType, LinkType
from bpfd.kernel.holders import KINDS, LINK, Opened
from bpfd.kernel.info import LinkInfo
from bpfd.v1 import links_pb2

XDP = LinkInfo(LinkType.XDP, 5, 50, ifindex=2)
OTHER_XDP = LinkInfo(LinkType.XDP, 6, 50, ifindex=2)
GROUP = LinkInfo(
    LinkType.CGROUP, 7, 70, attach_type=AttachType.CGROUP_INET_EGRESS, cgroup_id=900
)


def links(*infos: LinkInfo) -> Links:
    opened = Opened({kind: {} for kind in KINDS})
    opened.fds[LINK] = {5: [(11, 3), (11, 4), (12, 3)]}
    opened.names = {11: "loader", 12: "shell"}
    return Links(infos, opened, {5: ["/sys/fs/bpf/x"]}, {5: "own/xdp"})


def test_a_link_is_where_it_says() -> None:
    found = links(XDP, GROUP)
    message = links_pb2.Attachment(program_id=50)
    found.match(message, Where(LinkType.XDP, 50, ifindex=2))
    assert (message.link_id, message.link_type_name) == (5, "xdp")
    assert message.method == links_pb2.ATTACHMENT_METHOD_LINK
    assert [(each.pid, each.comm) for each in message.holders] == [
        (11, "loader"),
        (12, "shell"),
    ]
    assert message.pinned_paths == ["/sys/fs/bpf/x"]
    assert message.link == "own/xdp"
    assert [info.id for info, _ in found.rest()] == [7]


def test_each_link_is_placed_once() -> None:
    found = links(XDP, OTHER_XDP)
    place = Where(LinkType.XDP, 50, ifindex=2)
    messages = [
        links_pb2.Attachment(method=links_pb2.ATTACHMENT_METHOD_NETLINK) for _ in range(3)
    ]
    for message in messages:
        found.match(message, place)
    assert [each.link_id for each in messages] == [5, 6, 0]
    assert messages[2].method == links_pb2.ATTACHMENT_METHOD_NETLINK
    assert not list(found.rest())


@pytest.mark.parametrize(
    "place",
    [
        Where(LinkType.XDP, 51, ifindex=2),
        Where(LinkType.XDP, 50, ifindex=3),
        Where(LinkType.CGROUP, 70, AttachType.CGROUP_INET_INGRESS, cgroup_inode=900),
        Where(LinkType.CGROUP, 70, AttachType.CGROUP_INET_EGRESS, cgroup_inode=901),
    ],
)
def test_other_places_have_no_link(place: Where) -> None:
    message = links_pb2.Attachment()
    links(XDP, GROUP).match(message, place)
    assert not message.link_id


def test_a_cgroup_by_the_inode_of_its_directory() -> None:
    assert where(GROUP).cgroup_inode == 900
    message = links_pb2.Attachment()
    links(GROUP).match(message, where(GROUP))
    assert message.attach_type == AttachType.CGROUP_INET_EGRESS


def test_taken_by_id() -> None:
    found = links(XDP)
    message = links_pb2.Attachment(method=links_pb2.ATTACHMENT_METHOD_PROG_ATTACH)
    found.take(message, 0)
    found.take(message, 99)  # came after the links were listed
    assert message.method == links_pb2.ATTACHMENT_METHOD_PROG_ATTACH
    found.take(message, 5)
    assert message.link_id == 5


@pytest.mark.parametrize(
    ("info", "detached"),
    [
        (XDP, False),
        (GROUP, False),
        (LinkInfo(LinkType.XDP, 1, 1), True),
        (LinkInfo(LinkType.TCX, 1, 1, ifindex=0), True),
        (LinkInfo(LinkType.CGROUP, 1, 1, attach_type=0), True),
        (LinkInfo(LinkType.NETNS, 1, 1), True),
        (LinkInfo(LinkType.SOCKMAP, 1, 1), True),
        (LinkInfo(LinkType.RAW_TRACEPOINT, 1, 1), False),
        (LinkInfo(LinkType.NETFILTER, 1, 1), False),
    ],
)
def test_links_whose_place_has_gone(info: LinkInfo, detached: bool) -> None:
    assert is_detached(info) == detached
