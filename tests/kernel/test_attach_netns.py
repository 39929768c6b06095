# SPDX-License-Identifier: Apache-2.0
"""sk_lookup and flow_dissector: connections and packets of a network namespace."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC
from bpfd.kernel import info, netns, syscall
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.api import eventually
from tests.kernel.hooks_support import Pair, needs_root, veth_pair
from tests.kernel.numbered import Numbered, numbered

pytestmark = needs_root

Point = attach_pb2.AttachPoint
PORT = 7
"""Nobody listens there."""
PACKET_FANOUT, FANOUT_HASH = 18, 0
SOL_PACKET, ETH_P_IP = 263, 0x0800


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


@pytest.fixture
def loaded() -> Iterator[Numbered]:
    with numbered("netns_hooks") as found:
        yield found


def lookup(pair: Pair) -> Point:
    return Point(sk_lookup=attach_pb2.SkLookup(netns=common_pb2.Netns(name=pair.near)))


def dissector(name: str) -> Point:
    return Point(flow_dissector=attach_pb2.FlowDissector(netns=common_pb2.Netns(name=name)))


def listener(pair: Pair) -> socket.socket:
    """Listens in the near namespace, on another port than PORT."""
    with netns.entered(f"/run/netns/{pair.near}"):
        made = socket.create_server((pair.address, 0))
    made.settimeout(20)
    return made


def connect(pair: Pair) -> bytes:
    """What whoever gets the connection to PORT says."""
    with netns.entered(f"/run/netns/{pair.far}"):
        made = socket.socket()
    with made:
        made.settimeout(20)
        made.connect((pair.address, PORT))
        return made.recv(10)


def test_a_connection_goes_to_a_socket_of_the_map(loaded: Numbered, pair: Pair) -> None:
    with listener(pair) as listening:
        _put(loaded, listening)
        loaded.set(PORT)
        attachment = attach.attach(loaded["to_listener"], lookup(pair))
        assert attachment.method == "netns link"
        with netns.entered(f"/run/netns/{pair.far}"):
            caller = socket.create_connection((pair.address, PORT), 20)
        with caller, listening.accept()[0] as called:
            called.sendall(b"hello")
            assert caller.recv(10) == b"hello"
            assert called.getsockname()[1] == PORT
        assert loaded.runs >= 1
        attachment.close()
        with pytest.raises(ConnectionRefusedError):
            connect(pair)


def _put(loaded: Numbered, listening: socket.socket) -> None:
    value = struct.pack("=I", listening.fileno())
    syscall.map_update_elem(loaded.map_fd("listeners"), bytes(4), value)


def test_two_programs_and_the_exchange_of_one(loaded: Numbered, pair: Pair) -> None:
    loaded.set(PORT)
    with listener(pair) as listening:
        _put(loaded, listening)
        first = attach.attach(loaded["dropped"], lookup(pair))
        second = attach.attach(loaded["dropped"], lookup(pair))
        with pytest.raises(ConnectionRefusedError):
            connect(pair)
        assert loaded.runs == 2
        second.close()
        assert first.update(loaded["to_listener"]) == ATOMIC
        with netns.entered(f"/run/netns/{pair.far}"):
            socket.create_connection((pair.address, PORT), 20).close()
        listening.accept()[0].close()
        first.close()


def test_a_pinned_link_is_adopted(loaded: Numbered, pair: Pair) -> None:
    loaded.set(PORT)
    for program, point in (("dropped", lookup(pair)), ("one_flow", dissector(pair.near))):
        attachment = attach.attach(loaded[program], point)
        pin = f"/sys/fs/bpf/hk-{os.getpid()}"
        syscall.obj_pin(attachment.fds[0], pin)
        try:
            attachment.release()
            adopted = adopt([syscall.obj_get(pin)])
        finally:
            os.unlink(pin)
        kind = point.WhichOneof("point")
        assert kind is not None
        getattr(point, kind).netns.path = f"/run/netns/{pair.near}"
        assert find_point(adopted.fds) == point
        assert (adopted.hook.name, adopted.method) == (kind, "netns link")
        adopted.close()


def test_packets_are_dissected(loaded: Numbered, pair: Pair) -> None:
    """A group of packet sockets that goes by the hash of flows asks for them."""
    loaded.set(socket.IPPROTO_TCP)
    attachment = attach.attach(loaded["one_flow"], dissector(pair.near))
    with netns.entered(f"/run/netns/{pair.near}"):
        watching = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    with watching:
        watching.settimeout(20)
        watching.setsockopt(SOL_PACKET, PACKET_FANOUT, os.getpid() & 0xFFFF | FANOUT_HASH << 16)
        pair.send(b"x")
        watching.recv(100)
        assert loaded.runs >= 1
        assert attachment.update(loaded["no_flow"]) == ATOMIC
        pair.send(b"x")
        watching.recv(100)
        attachment.close()
        runs = loaded.runs
        pair.send(b"x")
        watching.recv(100)
        assert loaded.runs == runs


def test_a_namespace_has_one_dissector(loaded: Numbered, pair: Pair) -> None:
    first = attach.attach(loaded["one_flow"], dissector(pair.near))
    program = loaded["one_flow"]
    with pytest.raises(errors.AttachBusy, match=f"program {program.id} .one_flow. by link"):
        attach.attach(loaded["no_flow"], dissector(pair.near))
    first.close()


def test_a_link_whose_namespace_is_gone(loaded: Numbered) -> None:
    with veth_pair() as pair:
        attachment = attach.attach(loaded["one_flow"], dissector(pair.near))
    fds = attachment.fds
    assert eventually(lambda: info.link_info(fds[0]).netns_inode == 0)
    assert find_point(fds) == Point(flow_dissector=attach_pb2.FlowDissector())
    with pytest.raises(errors.KernelError, match="is gone; detach it"):
        attachment.update(loaded["no_flow"])
    attachment.close()


def test_namespaces_that_are_none(loaded: Numbered, pair: Pair) -> None:
    wanted = lookup(pair)
    wanted.sk_lookup.netns.name = "hk-none"
    with pytest.raises(errors.NotFound, match="hk-none"):
        attach.attach(loaded["dropped"], wanted)
    wanted.sk_lookup.netns.path = "/proc/self/ns/mnt"
    with pytest.raises(errors.InvalidArgument, match="not a network namespace"):
        attach.attach(loaded["dropped"], wanted)
    with pytest.raises(errors.InvalidArgument, match="sk_lookup takes sk_lookup"):
        attach.attach(loaded["one_flow"], lookup(pair))
