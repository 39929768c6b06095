# SPDX-License-Identifier: Apache-2.0
"""What the daemon tells of attachments of its own, and to whom."""

from __future__ import annotations

import grpc

from bpfd.kernel import netns
from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2
from tests.kernel import clang, hooks_support
from tests.kernel.api import Api
from tests.kernel.busy_machine import inode
from tests.kernel.chain_support import place
from tests.kernel.hooks_support import needs_root
from tests.kernel.visible_support import their_net

pytestmark = needs_root


def test_own_attachments_have_their_names(channel: grpc.Channel) -> None:
    api = Api(channel)
    with hooks_support.veth_pair() as pair, api.session() as lifetime:
        api.load("own", hooks_support.compiled(), lifetime)
        clsact = attach_pb2.Tc(
            interface=pair.interface(),
            direction=attach_pb2.TC_DIRECTION_INGRESS,
            method=attach_pb2.TC_METHOD_CLSACT,
        )
        api.attach("own/tc_count", attach_pb2.AttachPoint(tc=clsact), name="filter")
        api.attach("own/xdp_count", hooks_support.xdp(pair), name="xdp")
        api.load("sockets", clang.compiled("sockets"), lifetime)
        raw = attach_pb2.SocketFilter(raw=pair.interface())
        point = attach_pb2.AttachPoint(socket_filter=raw)
        socket_program = next(
            each.name
            for each in api.objects.List(objects_pb2.ListObjectsRequest()).objects[1].programs
            if each.type == common_pb2.PROGRAM_TYPE_SOCKET_FILTER
        )
        api.attach(f"sockets/{socket_program}", point, name="packets")
        answer = api.links.ListAttachments(links_pb2.ListAttachmentsRequest(programs=True))
        named = {each.link: each for each in answer.attachments if each.link}
    assert named.keys() == {"filter", "xdp", "packets"}
    assert named["filter"].method == links_pb2.ATTACHMENT_METHOD_FILTER
    assert named["xdp"].method == links_pb2.ATTACHMENT_METHOD_LINK
    assert named["packets"].method == links_pb2.ATTACHMENT_METHOD_SOCKET
    assert named["packets"].point == point
    objects = {each.name: each.object for each in answer.programs}
    assert objects["xdp_count"] == "own"


def test_members_of_a_chain_stand_behind_what_runs(channel: grpc.Channel) -> None:
    api = Api(channel)
    with hooks_support.veth_pair() as pair, api.session() as lifetime:
        loaded = api.load("chain", clang.compiled("xdp_chain"), lifetime).object
        for name, priority in (("member1", 20), ("member0", 10)):
            api.attach(f"chain/{name}", place(pair, priority), name=name)
        found = [
            each
            for each in api.links.ListAttachments(
                links_pb2.ListAttachmentsRequest()
            ).attachments
            if each.netns_inode == inode(pair.near)
        ]
        (running,) = [number for _, _, number in their_net(pair.near)[0]]
    ids = {each.name: each.id for each in loaded.programs}
    assert [each.program_id for each in found] == [running, ids["member0"], ids["member1"]]
    assert [each.link for each in found] == ["member0, member1", "member0", "member1"]
    assert [each.composed_program_id for each in found] == [0, running, running]
    assert [each.position for each in found] == [0, 1, 2]
    assert len({each.link_id for each in found}) == 1


def test_a_viewer_may_look(viewer_channel: grpc.Channel) -> None:
    answer = Api(viewer_channel).links.ListAttachments(links_pb2.ListAttachmentsRequest())
    assert answer.namespaces[0].inode == netns.own().inode
    assert not answer.programs
    assert {each.what for each in answer.left_out} >= {"lirc devices"}
