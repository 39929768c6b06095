# SPDX-License-Identifier: Apache-2.0
"""netfilter: packets to a socket in another network namespace, counted and dropped."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach import netfilter
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC, OVERLAP, Program
from bpfd.features import PROBES
from bpfd.kernel import elf_object, netns, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel import clang
from tests.kernel.hooks_support import Pair, needs_root, open_fds, veth_pair

pytestmark = needs_root

IPV4, IPV6 = 2, 10
PRE_ROUTING, LOCAL_IN, LOCAL_OUT = 0, 1, 3


class Loads:
    """The loaded programs and their counters."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def __getitem__(self, name: str) -> Program:
        each = self._loaded.programs[name]
        return Program(each.fd, each.id, name, each.type, each.expected_attach_type)

    def _count(self, index: int) -> int:
        fd = self._loaded.maps["packets"].fd
        value = syscall.map_lookup_elem(fd, struct.pack("=I", index), 8)
        return int(struct.unpack("=Q", value)[0])

    @property
    def dropped(self) -> int:
        return self._count(0)

    @property
    def accepted(self) -> int:
        return self._count(1)


@pytest.fixture
def programs() -> Iterator[Loads]:
    try:
        PROBES["netfilter link"].run()
    except OSError as error:
        pytest.skip(f"this kernel has no netfilter links: {error.strerror}")
    elf = clang.compiled("netfilter")
    before = open_fds()
    loaded = elf_object.load("netfilter", elf, LoadOptions())
    yield Loads(loaded)
    loaded.close()
    assert open_fds() <= before, "files are left open"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def point(pair: Pair, at: int = LOCAL_IN, **fields: object) -> attach_pb2.AttachPoint:
    request = attach_pb2.Netfilter(
        netns=common_pb2.Netns(name=pair.near), protocol_family=IPV4, hook=at
    )
    request.MergeFrom(attach_pb2.Netfilter(**fields))  # type: ignore[arg-type]
    return attach_pb2.AttachPoint(netfilter=request)


def arrives(pair: Pair, receiver: socket.socket) -> bool:
    pair.send(b"packet")
    receiver.settimeout(0.2)
    try:
        return receiver.recv(64) == b"packet"
    except TimeoutError:
        return False


@pytest.mark.parametrize("hook", [PRE_ROUTING, LOCAL_IN])
def test_packets_are_dropped(programs: Loads, pair: Pair, hook: int) -> None:
    with pair.receiver() as receiver:
        assert arrives(pair, receiver)
        attachment = attach.attach(programs["drops"], point(pair, hook, priority=-128))
        assert attachment.method == "netfilter link"
        assert not arrives(pair, receiver)
        assert programs.dropped == 1
        attachment.close()
        assert arrives(pair, receiver)


def test_the_lowest_priority_runs_first(programs: Loads, pair: Pair) -> None:
    with pair.receiver() as receiver:
        drops = attach.attach(programs["drops"], point(pair, priority=5))
        behind = attach.attach(programs["accepts"], point(pair, priority=6))
        assert not arrives(pair, receiver)
        assert (programs.dropped, programs.accepted) == (1, 0)
        before = attach.attach(programs["accepts"], point(pair, priority=-5))
        assert not arrives(pair, receiver)
        assert (programs.dropped, programs.accepted) == (2, 1)
        for each in (drops, behind, before):
            each.close()


def test_another_network_namespace_is_left_alone(programs: Loads, pair: Pair) -> None:
    where = point(pair, LOCAL_OUT)
    where.netfilter.netns.name = pair.far
    with pair.receiver() as receiver:
        inside = attach.attach(programs["drops"], point(pair, LOCAL_OUT))
        assert arrives(pair, receiver)
        assert programs.dropped == 0
        outside = attach.attach(programs["drops"], where)
        with contextlib.suppress(PermissionError):  # what a local sender is told
            assert not arrives(pair, receiver)
        assert programs.dropped == 1
        inside.close()
        outside.close()


def test_ipv6(programs: Loads, pair: Pair) -> None:
    where = point(pair)
    where.netfilter.protocol_family = IPV6
    attachment = attach.attach(programs["drops"], where)
    with netns.entered(f"/run/netns/{pair.near}"):
        receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind(("::1", 0))
        receiver.settimeout(0.2)
        sender.sendto(b"packet", receiver.getsockname())
        with pytest.raises(TimeoutError):
            receiver.recv(64)
        assert programs.dropped >= 1
        attachment.close()
        sender.sendto(b"packet", receiver.getsockname())
        assert receiver.recv(64) == b"packet"


def test_whole_packets(programs: Loads, pair: Pair) -> None:
    where = point(pair, PRE_ROUTING, defragment=True)
    try:
        attachment = attach.attach(programs["accepts"], where)
    except errors.KernelError as error:
        pytest.skip(str(error))
    with pair.receiver() as receiver, netns.entered(f"/run/netns/{pair.far}"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.sendto(bytes(4000), (pair.address, 7777))
        assert len(receiver.recv(5000)) == 4000
    assert programs.accepted == 1
    assert find_point(attachment.fds).netfilter.defragment
    attachment.close()


def test_another_program_takes_the_place(programs: Loads, pair: Pair) -> None:
    with pair.receiver() as receiver:
        attachment = attach.attach(programs["accepts"], point(pair, priority=7))
        neighbour = attach.attach(programs["accepts"], point(pair, priority=8))
        assert arrives(pair, receiver)
        assert attachment.update(programs["drops"]) == OVERLAP
        assert attachment.update(programs["drops"]) == ATOMIC
        accepted = programs.accepted
        assert not arrives(pair, receiver)
        assert (programs.dropped, programs.accepted) == (1, accepted)
        assert find_point(attachment.fds).netfilter.priority == 7
        neighbour.close()
        attachment.close()
        assert arrives(pair, receiver)


def test_a_place_that_is_taken_during_the_exchange(
    programs: Loads, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, faster = netfilter._link, []

    def link(program: Program, where: attach_pb2.Netfilter, priority: int) -> int:
        if priority == 7:
            faster.append(real(programs["accepts"], where, 7))
        return real(program, where, priority)

    with pair.receiver() as receiver:
        attachment = attach.attach(programs["accepts"], point(pair, priority=7))
        monkeypatch.setattr(netfilter, "_link", link)
        assert attachment.update(programs["drops"]) == OVERLAP
        assert not arrives(pair, receiver)
        assert find_point(attachment.fds).netfilter.priority in (6, 8)
        attachment.close()
        assert arrives(pair, receiver)
    os.close(faster[0])


def test_a_priority_that_is_taken(programs: Loads, pair: Pair) -> None:
    attachment = attach.attach(programs["drops"], point(pair, priority=9))
    with pytest.raises(errors.AttachBusy, match="priority 9"):
        attach.attach(programs["accepts"], point(pair, priority=9))
    attachment.close()


def test_a_pinned_link_is_adopted(programs: Loads, pair: Pair) -> None:
    first = attach.attach(programs["drops"], point(pair, priority=-3))
    pin = f"/sys/fs/bpf/nf-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        unknown = adopt([syscall.obj_get(pin)])
        adopted = adopt([syscall.obj_get(pin)], point(pair, priority=-3))
    finally:
        os.unlink(pin)
    found = find_point(adopted.fds).netfilter
    assert (found.protocol_family, found.hook, found.priority) == (IPV4, LOCAL_IN, -3)
    with pytest.raises(errors.NotSupported, match="before the daemon's start"):
        unknown.update(programs["accepts"])
    unknown.release()
    with pair.receiver() as receiver:
        assert not arrives(pair, receiver)
        assert adopted.update(programs["accepts"]) == OVERLAP
        assert arrives(pair, receiver)
    adopted.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"protocol_family": 7}, "must be ipv4 or ipv6"),
        ({"hook": 5}, "pre_routing, local_in"),
        ({"priority": -(1 << 31)}, "kernel's own"),
        ({"priority": -400, "defragment": True}, "above -400"),
    ],
)
def test_bad_requests(
    programs: Loads, pair: Pair, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=said):
        attach.attach(programs["drops"], point(pair, **fields))  # type: ignore[arg-type]
