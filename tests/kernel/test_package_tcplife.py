# SPDX-License-Identifier: Apache-2.0
"""Package tcplife: real connections in a network namespace of the test, each told once."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bpfd.attach import tracepoint
from bpfd.attach.attachment import Program
from bpfd.kernel import netns
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2
from tests.kernel.loaded_package import LoadedPackage, RingReader, ip, types_are_known

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading tracing programs needs root"),
    pytest.mark.skipif(
        not types_are_known("tcplife"), reason="needs kernel BTF, and none is known"
    ),
]

SECONDS = 10.0


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """A network namespace with a loopback; its path."""
    name = f"pk-{os.getpid()}-tcp"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield f"/run/netns/{name}"
    finally:
        ip("netns", "delete", name)


class Watch:
    """The package, attached; what it tells of connections."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.package = LoadedPackage("tcplife", settings)
        program = self.package.loaded.programs["tcplife"]
        self._attachment = tracepoint.attach(
            Program(program.fd, program.id, program.name, ProgType.TRACEPOINT),
            attach_pb2.Tracepoint(category="sock", name="inet_sock_set_state"),
        )
        self._reader = RingReader(self.package, "ended")

    def take(self, count: int) -> list[Any]:
        """Exactly so many events, waited for; those of one port pair side by side."""
        events: list[Any] = []
        until = time.monotonic() + SECONDS
        while len(events) < count and time.monotonic() < until:
            events += self._reader.take()
            time.sleep(0.005)
        events += self._reader.take()
        assert len(events) == count, events
        assert self.lost() == 0
        return events

    def pair(self) -> tuple[Any, Any]:
        """The two ends of one connection: the side that opened, the side that accepted."""
        one, other = self.take(2)
        if one["origin"] != "OPENED":
            one, other = other, one
        assert (one["origin"], other["origin"]) == ("OPENED", "ACCEPTED")
        assert one["local"] == other["remote"]
        assert one["local_port"] == other["remote_port"]
        assert one["remote"] == other["local"]
        assert one["remote_port"] == other["local_port"]
        return one, other

    def rest(self) -> int:
        """Events that nobody took so far."""
        return len(self._reader.take())

    def lost(self) -> int:
        return int(self.package.get("ended_lost", "0"))

    def close(self) -> None:
        self._reader.close()
        self._attachment.close()
        self.package.close()


@pytest.fixture
def watch(place: str) -> Iterator[Watch]:
    with closing(Watch({"netns": str(os.stat(place).st_ino)})) as found:
        yield found


def listen(place: str, address: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.entered(place):
        server = socket.socket(family)
    server.bind((address, 0))
    server.listen(64)
    return server


def connect(place: str, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """The client's end and the server's."""
    with netns.entered(place):
        client = socket.socket(server.family)
    client.connect(server.getsockname()[:2])
    return client, server.accept()[0]


def receive(end: socket.socket, count: int) -> None:
    while count:
        data = end.recv(min(count, 1 << 16))
        assert data, f"{count} bytes are missing"
        count -= len(data)


def reset(end: socket.socket) -> None:
    """Close with a RST in place of a FIN."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


@pytest.mark.parametrize(
    ("address", "family"),
    [("127.0.0.1", "AF_INET"), ("127.0.0.5", "AF_INET"), ("::1", "AF_INET6")],
)
def test_tells_both_ends_of_a_connection(
    place: str, watch: Watch, address: str, family: str
) -> None:
    begin = time.monotonic_ns()
    with listen(place, address) as server:
        client, accepted = connect(place, server)
        ports = client.getsockname()[1], server.getsockname()[1]
        client.sendall(b"q" * 1000)
        receive(accepted, 1000)
        accepted.sendall(b"a" * 77)
        receive(client, 77)
        client.close()
        assert accepted.recv(1) == b""
        accepted.close()
        one, other = watch.pair()
    end = time.monotonic_ns()

    assert (one["local_port"], one["remote_port"]) == ports
    assert one["remote"] == address
    assert (one["bytes_sent"], one["bytes_received"]) == (1000, 77)
    assert (other["bytes_sent"], other["bytes_received"]) == (77, 1000)
    for event in (one, other):
        assert event["family"] == family
        assert event["pid"] == os.getpid()
        assert event["comm"] == Path("/proc/thread-self/comm").read_text().strip()
        assert event["netns"] == os.stat(place).st_ino
        assert event["established"] is True
        assert event["has_bytes"] is True
        assert begin < event["end_ns"] < end
        assert 0 < event["duration_ns"] < end - begin
    assert watch.rest() == 0


def test_tells_the_cgroup_of_the_socket(place: str, watch: Watch) -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [words[1] for words in mounts if words[2] == "cgroup2"]
    if not roots:
        pytest.skip("no cgroup2 is mounted")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    (own,) = (line[3:] for line in lines if line.startswith("0::"))
    with listen(place) as server:
        for end in connect(place, server):
            end.close()
        for event in watch.pair():
            found = event["cgroup_id"]
            if sys.maxsize < 2**32:
                # Inodes have 32 bits there; the upper half is a generation (kernfs.h).
                found &= 0xFFFFFFFF
            assert found == os.stat(roots[0] + own).st_ino


@pytest.mark.parametrize("first", ["client", "server"])
def test_counts_bytes_behind_a_half_close(place: str, watch: Watch, first: str) -> None:
    with listen(place) as server:
        client, accepted = connect(place, server)
        one, other = (client, accepted) if first == "client" else (accepted, client)
        one.sendall(b"x" * 10)
        one.shutdown(socket.SHUT_WR)
        receive(other, 10)
        assert other.recv(1) == b""
        other.sendall(b"y" * 200_000)
        other.close()
        receive(one, 200_000)
        one.close()
        events = watch.pair()
    sent = [event["bytes_sent"] for event in events]
    received = [event["bytes_received"] for event in events]
    expected = [10, 200_000] if first == "client" else [200_000, 10]
    assert (sent, received) == (expected, expected[::-1])


def test_a_connection_without_a_byte(place: str, watch: Watch) -> None:
    with listen(place) as server:
        client, accepted = connect(place, server)
        client.close()
        accepted.close()
        for event in watch.pair():
            assert (event["bytes_sent"], event["bytes_received"]) == (0, 0)


def test_a_reset_by_the_peer_has_no_process_on_the_side_that_accepted(
    place: str, watch: Watch
) -> None:
    with listen(place) as server:
        client, accepted = connect(place, server)
        client.sendall(b"x" * 5)
        receive(accepted, 5)
        reset(client)
        one, other = watch.pair()
        accepted.close()
    assert (one["pid"], one["bytes_sent"]) == (os.getpid(), 5)
    assert (other["pid"], other["comm"], other["bytes_received"]) == (0, "", 5)


def test_a_close_with_unread_data_is_told_with_its_process(place: str, watch: Watch) -> None:
    with listen(place) as server:
        client, accepted = connect(place, server)
        client.sendall(b"x" * 5)
        while not accepted.recv(1, socket.MSG_PEEK):
            pass
        accepted.close()
        one, other = watch.pair()
        client.close()
    assert one["pid"] == os.getpid()
    assert (other["pid"], other["bytes_received"]) == (os.getpid(), 5)


def test_the_process_is_the_one_that_holds_the_socket(place: str, watch: Watch) -> None:
    script = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
    with listen(place) as server, netns.entered(place):
        port = str(server.getsockname()[1])
        child = subprocess.Popen([sys.executable, "-c", script, port])
        accepted = server.accept()[0]
        assert accepted.recv(1) == b""
        accepted.close()
        assert child.wait() == 0
        one, other = watch.pair()
    assert one["pid"] == child.pid
    assert one["comm"].startswith(("python", "bpfd"))
    assert other["pid"] == os.getpid()


def test_a_failed_attempt_is_told_when_asked_for(place: str, watch: Watch) -> None:
    wanted = {"netns": str(os.stat(place).st_ino), "failed": "true"}
    with closing(Watch(wanted)) as all_of_them, netns.entered(place):
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", 9))
        (event,) = all_of_them.take(1)
    assert (event["origin"], event["established"]) == ("OPENED", False)
    assert (event["pid"], event["remote_port"]) == (os.getpid(), 9)
    assert watch.rest() == 0


def test_sockets_that_only_listen_are_no_connections(place: str, watch: Watch) -> None:
    listen(place).close()
    with netns.entered(place):
        socket.socket().close()
    assert watch.rest() == 0


def test_a_connection_that_is_older_than_the_program_has_no_start(place: str) -> None:
    with listen(place) as server:
        client, accepted = connect(place, server)
        with closing(Watch({"netns": str(os.stat(place).st_ino)})) as late:
            client.close()
            accepted.close()
            for event in late.take(2):
                assert (event["origin"], event["duration_ns"]) == ("UNKNOWN", 0)
                assert event["established"] is True
                assert event["pid"] == os.getpid()


def test_other_network_namespaces_are_left_out(place: str, watch: Watch) -> None:
    with listen("/proc/self/ns/net") as server:
        for end in connect("/proc/self/ns/net", server):
            end.close()
    with listen(place) as server:
        for end in connect(place, server):
            end.close()
        watch.pair()
    assert watch.rest() == 0


def test_other_processes_are_left_out(place: str) -> None:
    script = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
    wanted = {"netns": str(os.stat(place).st_ino), "pid": str(os.getpid())}
    with closing(Watch(wanted)) as own, listen(place) as server, netns.entered(place):
        subprocess.run([sys.executable, "-c", script, str(server.getsockname()[1])], check=True)
        server.accept()[0].close()
        (event,) = own.take(1)
        assert (event["origin"], event["pid"]) == ("ACCEPTED", os.getpid())


def test_other_cgroups_are_left_out(place: str) -> None:
    wanted = {"netns": str(os.stat(place).st_ino), "cgroup": str(2**63)}
    with closing(Watch(wanted)) as nothing, listen(place) as server:
        for end in connect(place, server):
            end.close()
        assert nothing.rest() == 0


def test_many_connections_at_once_are_each_told_once(place: str, watch: Watch) -> None:
    """100 connections of 4 threads, all open before the first one ends."""
    with listen(place) as server:
        pairs: list[tuple[socket.socket, socket.socket]] = []
        for _ in range(100):
            pairs.append(connect(place, server))
        ports = sorted(client.getsockname()[1] for client, _ in pairs)

        def end(some: list[tuple[socket.socket, socket.socket]]) -> None:
            for client, accepted in some:
                client.sendall(b"x" * client.getsockname()[1])
                receive(accepted, client.getsockname()[1])
                client.close()
                accepted.close()

        threads = [threading.Thread(target=end, args=(pairs[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        events = watch.take(200)
    opened = [event for event in events if event["origin"] == "OPENED"]
    accepted = [event for event in events if event["origin"] == "ACCEPTED"]
    assert sorted(event["local_port"] for event in opened) == ports
    assert sorted(event["remote_port"] for event in accepted) == ports
    assert all(event["bytes_sent"] == event["local_port"] for event in opened)
    assert all(event["bytes_received"] == event["remote_port"] for event in accepted)
    assert watch.rest() == 0


def test_events_that_find_the_ring_full_are_counted(place: str) -> None:
    wanted = {"netns": str(os.stat(place).st_ino), "events_bytes": "65536"}
    with closing(Watch(wanted)) as watch, listen(place) as server:
        for _ in range(350):
            client, accepted = connect(place, server)
            client.close()
            assert accepted.recv(1) == b""
            accepted.close()
        until = time.monotonic() + SECONDS
        # A record takes 120 bytes with its header.
        while watch.lost() < 700 - 65536 // 120 and time.monotonic() < until:
            time.sleep(0.005)
        lost = watch.lost()
        told = watch.rest()
        assert told + lost == 700
        assert lost > 0
