# SPDX-License-Identifier: Apache-2.0
"""Links to cgroups, sockmaps, namespaces and sockets after SIGKILL of the daemon."""

from __future__ import annotations

import os
import shutil
import socket
import struct

import pytest

from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.info import map_info
from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2
from tests.kernel.api import PINNED, Api, map_ref, program
from tests.kernel.clang import compiled
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import Pair, in_cgroup, own_cgroup, veth_pair

Point = attach_pb2.AttachPoint
SOCKET = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"


@pytest.mark.parametrize("notes", ["kept", "lost"])
def test_links_go_on_and_are_taken_over(daemon: RunningDaemon, notes: str) -> None:
    with veth_pair() as pair, own_cgroup() as group, pair.receiver() as receiver:
        points = _points(pair, group, receiver)
        with daemon.channel() as channel:
            api = Api(channel)
            for name in ("cgroup_hooks", "sockmap", "netns_hooks", "sockets"):
                api.load(name, compiled(name), PINNED)
            before = {
                where: api.attach(where, point, name=where.rpartition("/")[2])
                for where, point in points.items()
            }
        daemon.kill()
        if notes == "lost":
            shutil.rmtree(daemon.state_dir / "objects")
        _check_effects(pair, group, receiver, sockets=_map_id())
        daemon.start()
        with daemon.channel() as channel:
            api = Api(channel)
            found = {each.name: each for each in _links(api)}
            assert found.keys() == {each.name for each in before.values()}
            for where, link in before.items():
                now = found[link.name]
                assert (now.object, now.program) == tuple(where.split("/"))
                assert (now.method, now.link_ids) == (link.method, link.link_ids)
                assert now.point.WhichOneof("point") == link.point.WhichOneof("point")
                if notes == "kept":
                    assert now.point == link.point
            _check_effects(pair, group, receiver, sockets=_map_id())
            update = links_pb2.UpdateLinkRequest(
                name="sock_create", program=program("cgroup_hooks/sock_create_count")
            )
            api.links.Update(update)
            assert in_cgroup(group, SOCKET).returncode == 0
            for name in ("cgroup_hooks", "sockmap", "netns_hooks", "sockets"):
                api.unload(name)
            assert _links(api) == []
        assert list((daemon.state_dir / "journal").glob("*")) == []
        pair.send(b"x")
        assert receiver.recv(10) == b"x"


def _points(pair: Pair, group: str, receiver: socket.socket) -> dict[str, Point]:
    create = attach_pb2.CgroupSock(
        cgroup=common_pb2.Cgroup(path=group), hook=attach_pb2.CGROUP_SOCK_HOOK_CREATE
    )
    place = attach_pb2.SocketOfProcess(pid=os.getpid(), fd=receiver.fileno())
    near = common_pb2.Netns(path=f"/run/netns/{pair.near}")
    return {
        "cgroup_hooks/sock_create": Point(cgroup_sock=create),
        "sockmap/forbid": Point(sk_msg=attach_pb2.SkMsg(map=map_ref("sockmap/sockets"))),
        "netns_hooks/dropped": Point(sk_lookup=attach_pb2.SkLookup(netns=near)),
        "sockets/nothing": Point(socket_filter=attach_pb2.SocketFilter(process_socket=place)),
    }


def _links(api: Api) -> list[objects_pb2.Link]:
    return list(api.links.List(links_pb2.ListLinksRequest()).links)


def _map_id() -> int:
    """The sockmap of the loaded object."""
    for number in syscall.ids(Cmd.MAP_GET_NEXT_ID):
        fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, number)
        try:
            if map_info(fd).name == b"sockets":
                return number
        finally:
            os.close(fd)
    raise AssertionError("no sockmap")


def _check_effects(pair: Pair, group: str, receiver: socket.socket, sockets: int) -> None:
    """Every program does its work: the cgroup makes no sockets, nothing is sent by a socket
    of the map, and the receiver gets nothing."""
    assert "PermissionError" in in_cgroup(group, SOCKET).stderr
    near, far = _connection()
    with near, far:
        fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, sockets)
        syscall.map_update_elem(fd, bytes(4), struct.pack("=I", near.fileno()))
        os.close(fd)
        with pytest.raises(PermissionError):
            near.send(b"x")
    pair.send(b"x")
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(10)
    receiver.settimeout(20)


def _connection() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname(), 20)
        return near, server.accept()[0]


def test_a_namespace_that_went_while_no_daemon_ran(daemon: RunningDaemon) -> None:
    with veth_pair() as pair:
        near = common_pb2.Netns(name=pair.near)
        with daemon.channel() as channel:
            api = Api(channel)
            api.load("one", compiled("netns_hooks"), PINNED)
            api.attach("one/dropped", Point(sk_lookup=attach_pb2.SkLookup(netns=near)))
        daemon.kill()
    assert not os.path.exists(f"/run/netns/{pair.near}")
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        (link,) = _links(api)
        assert link.point.sk_lookup.netns.name == pair.near
        api.unload("one")
