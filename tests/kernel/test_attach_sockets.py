# SPDX-License-Identifier: Apache-2.0
"""socket_filter and sk_reuseport: sockets of processes, and packet sockets of the daemon."""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bpfd import attach, errors
from bpfd.attach.attachment import ATOMIC
from bpfd.kernel import sockets, syscall
from bpfd.v1 import attach_pb2, common_pb2, links_pb2
from tests.kernel import clang
from tests.kernel.api import PINNED, Api, refused
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import Pair, needs_root, veth_pair
from tests.kernel.numbered import Numbered, numbered

pytestmark = needs_root

Point = attach_pb2.AttachPoint
SO_ATTACH_FILTER = 26
UDP_HEADER = 8
"""Bytes before the data as a filter of a UDP socket counts them."""


@pytest.fixture
def loaded() -> Iterator[Numbered]:
    with numbered("sockets") as found:
        yield found


@contextmanager
def receiver(**options: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        for name, value in options.items():
            made.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        made.bind(("127.0.0.1", 0))
        made.settimeout(20)
        yield made


def send(to: socket.socket, *texts: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for text in texts:
            sender.sendto(text, to.getsockname())


def filter_of(made: socket.socket, pid: int = 0) -> Point:
    place = attach_pb2.SocketOfProcess(pid=pid or os.getpid(), fd=made.fileno())
    return Point(socket_filter=attach_pb2.SocketFilter(process_socket=place))


def group_of(made: socket.socket, migrate: bool = False) -> Point:
    place = attach_pb2.SocketOfProcess(pid=os.getpid(), fd=made.fileno())
    return Point(sk_reuseport=attach_pb2.SkReuseport(socket=place, migrate=migrate))


def test_a_socket_receives_what_its_filter_lets_in(loaded: Numbered) -> None:
    with receiver() as made:
        attachment = attach.attach(loaded["one_length"], filter_of(made))
        assert (attachment.method, attachment.fds) == ("socket option", [])
        loaded.set(UDP_HEADER + 4)
        send(made, b"no", b"four", b"longer")
        assert made.recv(100) == b"four"
        assert (loaded.runs, loaded.seen) == (3, UDP_HEADER + 6)
        attachment.close()
        send(made, b"longer")
        assert made.recv(100) == b"longer"
        assert loaded.runs == 3


def test_the_filter_is_exchanged(loaded: Numbered) -> None:
    with receiver() as made:
        attachment = attach.attach(loaded["nothing"], filter_of(made))
        loaded.set(UDP_HEADER + 1)
        send(made, b"a")
        assert attachment.update(loaded["one_length"]) == ATOMIC
        send(made, b"b")
        assert made.recv(100) == b"b"
        sockets.remove_program(made.fileno(), sockets.SO_DETACH_FILTER)
        with pytest.raises(errors.NotFound, match="someone removed it"):
            attachment.update(loaded["nothing"])
        attachment.close()


def test_a_filter_that_is_there_stays(loaded: Numbered) -> None:
    with receiver() as made:
        first = attach.attach(loaded["one_length"], filter_of(made))
        with pytest.raises(errors.AttachBusy, match="a program of its process or someone"):
            attach.attach(loaded["nothing"], filter_of(made))
        first.close()
        program = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0xFFFF))  # return
        classic = struct.pack("@HP", 1, ctypes.addressof(program))  # struct sock_fprog
        made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, classic)
        with pytest.raises(errors.AttachBusy, match="a classic filter of its process"):
            attach.attach(loaded["nothing"], filter_of(made))


def test_the_socket_closes_with_its_process(loaded: Numbered) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname(), 20)
        far = server.accept()[0]
    with far:
        far.settimeout(20)
        attachment = attach.attach(loaded["nothing"], filter_of(far))
        near_filter = attach.attach(loaded["nothing"], filter_of(near))
        # At once: as its filter drops the other side's end, it would wait for it for a minute.
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        near_filter.close()
        attachment.close()


@contextmanager
def process_with_socket(*, group: bool = False) -> Iterator[tuple[int, int, int]]:
    """(pid, fd, port) of a UDP socket of another process, which echoes what it receives."""
    code = f"""
import socket
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if {group}:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
made.bind(("127.0.0.1", 0))
print(made.fileno(), made.getsockname()[1], flush=True)
while True:
    data, sender = made.recvfrom(100)
    made.sendto(data, sender)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        fd, port = map(int, process.stdout.readline().split())
        yield process.pid, fd, port
    finally:
        process.kill()
        process.communicate()


def echoes(port: int, seconds: float = 20.0) -> bool:
    """Whether the process answers within that time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", port))
        return bool(select.select([sender], [], [], seconds)[0])


def process_filter(pid: int, fd: int) -> Point:
    place = attach_pb2.SocketOfProcess(pid=pid, fd=fd)
    return Point(socket_filter=attach_pb2.SocketFilter(process_socket=place))


def test_sockets_of_other_processes(loaded: Numbered) -> None:
    with process_with_socket() as (pid, fd, port):
        attachment = attach.attach(loaded["nothing"], process_filter(pid, fd))
        assert not echoes(port, 0.5)
        attachment.close()
        assert echoes(port)
        with pytest.raises(errors.NotFound, match=f"its sockets are {fd}"):
            attach.attach(loaded["nothing"], process_filter(pid, 999))
        with pytest.raises(errors.InvalidArgument, match=f"fd 1 of process {pid} is no socket"):
            attach.attach(loaded["nothing"], process_filter(pid, 1))
        with pytest.raises(errors.InvalidArgument, match="say which process"):
            attach.attach(loaded["nothing"], process_filter(0, fd))
    with pytest.raises(errors.NotFound, match=f"process '{pid}'"):
        attach.attach(loaded["nothing"], process_filter(pid, fd))


def test_a_journal_finds_the_socket_under_another_fd(loaded: Numbered) -> None:
    with receiver() as made:
        plan = attach.plan(loaded["nothing"], filter_of(made))
        assert plan is not None
        attach.attach(loaded["nothing"], filter_of(made), plan).release()
        with made.dup() as other:
            made.close()
            again = attach.journal_from_json(json.loads(json.dumps(plan.to_json())))
            assert again == plan
            adopted = attach.adopt_journal(again)
            assert adopted is not None
            adopted.close()
            send(other, b"x")
            assert other.recv(10) == b"x"
            assert attach.adopt_journal(again) is None
        again.undo()


def test_one_socket_of_a_group_gets_everything(loaded: Numbered) -> None:
    with two_of_a_port() as made:
        for number, each in enumerate(made):
            value = struct.pack("=Q", each.fileno())
            syscall.map_update_elem(loaded.map_fd("group"), struct.pack("=I", number), value)
        attachment = attach.attach(loaded["by_setting"], group_of(made[0]))
        assert attachment.method == "socket option"
        for chosen in (0, 1):
            loaded.set(chosen)
            assert _received(made) == [20 - 20 * chosen, 20 * chosen]
        assert loaded.runs == 40
        assert attachment.update(loaded["refuse"]) == ATOMIC
        assert _received(made) == [0, 0]
        attachment.close()
        assert sum(_received(made)) == 20
        assert loaded.runs == 60


@contextmanager
def two_of_a_port() -> Iterator[list[socket.socket]]:
    with receiver(SO_REUSEPORT=1) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(first.getsockname())
        yield [first, second]


def _received(made: list[socket.socket]) -> list[int]:
    """How many of 20 packets of 20 senders each socket gets."""
    for _ in range(20):
        send(made[0], b"x")
    counts = []
    for each in made:
        each.setblocking(False)
        count = 0
        try:
            while each.recv(10):
                count += 1
        except BlockingIOError:
            counts.append(count)
    return counts


@pytest.mark.parametrize("program", ["by_number", "migrate"])
def test_other_programs_that_choose(loaded: Numbered, program: str) -> None:
    with two_of_a_port() as made:
        for number, each in enumerate(made):
            value = struct.pack("=Q", each.fileno())
            syscall.map_update_elem(loaded.map_fd("group"), struct.pack("=I", number), value)
        point = group_of(made[0], migrate=program == "migrate")
        attachment = attach.attach(loaded[program], point)
        loaded.set(1)
        assert _received(made) == [0, 20]
        attachment.close()


def test_groups_that_are_none(loaded: Numbered) -> None:
    with receiver() as made:
        with pytest.raises(errors.KernelError, match="not bound with SO_REUSEPORT"):
            attach.attach(loaded["refuse"], group_of(made))
        with pytest.raises(errors.InvalidArgument, match="section sk_reuseport/migrate"):
            attach.attach(loaded["refuse"], group_of(made, migrate=True))
        with pytest.raises(errors.InvalidArgument, match="socket_filter takes socket_filter"):
            attach.attach(loaded["refuse"], filter_of(made))
    unix, other = socket.socketpair()
    with unix, other, pytest.raises(errors.InvalidArgument, match="TCP and UDP over IP"):
        attach.attach(loaded["refuse"], group_of(unix))


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def copies(pair: Pair) -> Point:
    return Point(socket_filter=attach_pb2.SocketFilter(raw=pair.interface()))


def test_packets_of_an_interface_are_seen(loaded: Numbered, pair: Pair) -> None:
    loaded.set(1)
    with pair.receiver() as made:
        attachment = attach.attach(loaded["one_length"], copies(pair))
        assert attachment.method == "packet socket"
        assert not attachment.pinnable
        pair.send(b"hello")
        assert made.recv(10) == b"hello"
        seen = loaded.runs
        assert seen >= 1
        assert loaded.seen >= 14 + 20 + UDP_HEADER + 5
        assert attachment.update(loaded["nothing"]) == ATOMIC
        pair.send(b"hello")
        assert made.recv(10) == b"hello"
        assert loaded.runs > seen
        seen = loaded.runs
        attachment.close()
        pair.send(b"hello")
        assert made.recv(10) == b"hello"
        assert loaded.runs == seen


def test_no_place(loaded: Numbered, pair: Pair) -> None:
    with pytest.raises(errors.InvalidArgument, match="an interface, or a process"):
        attach.attach(loaded["nothing"], Point(socket_filter=attach_pb2.SocketFilter()))
    point = copies(pair)
    point.socket_filter.raw.name = "hk-none"
    with pytest.raises(errors.NotFound, match="hk-none"):
        attach.attach(loaded["nothing"], point)


def test_a_killed_daemon(daemon: RunningDaemon) -> None:
    """What a session had is undone, what is pinned is taken over."""
    with process_with_socket() as ours, process_with_socket() as theirs:
        with daemon.channel() as channel:
            api = Api(channel)
            api.load("one", clang.compiled("sockets"), PINNED)
            session, stream = api.open_session(label="test")
            lifetime = common_pb2.Lifetime(session=session)
            where = process_filter(*theirs[:2])
            api.attach("one/nothing", where, name="theirs", lifetime=lifetime)
            api.attach("one/nothing", process_filter(*ours[:2]), name="ours")
            daemon.kill()
            stream.cancel()
        assert not echoes(ours[2], 0.5)
        assert not echoes(theirs[2], 0.5)
        daemon.start()
        with daemon.channel() as channel:
            api = Api(channel)
            (link,) = api.links.List(links_pb2.ListLinksRequest()).links
            assert (link.name, link.method) == ("ours", "socket option")
            assert link.point == process_filter(*ours[:2])
            assert echoes(theirs[2])
            assert not echoes(ours[2], 0.5)
            api.unload("one")
        assert echoes(ours[2])


def test_packet_sockets_cannot_be_pinned(daemon: RunningDaemon, pair: Pair) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        api.load("one", clang.compiled("sockets"), PINNED)
        with refused("not_supported") as caught:
            api.attach("one/nothing", copies(pair))
        assert "a session as owner" in caught.text
        with api.session() as lifetime:
            link = api.attach("one/nothing", copies(pair), lifetime=lifetime)
            assert link.method == "packet socket"
        assert list(api.links.List(links_pb2.ListLinksRequest()).links) == []
        api.unload("one")


@pytest.mark.parametrize(
    "change",
    [{"pid": "x"}, {"program_ids": [-1]}, {"more": 1}, {"hook": "xdp"}],
)
def test_a_damaged_journal(change: dict[str, object], loaded: Numbered) -> None:
    with receiver() as made:
        plan = attach.plan(loaded["nothing"], filter_of(made))
        assert plan is not None
        with pytest.raises(ValueError, match=r"journal of a socket|numbers are none"):
            attach.journal_from_json(plan.to_json() | change)
