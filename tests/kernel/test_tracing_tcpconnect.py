# SPDX-License-Identifier: Apache-2.0
"""Package tcpconnect: attempts to connect, made a known number of times, each told once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.kernel.traced_package import Traced, needs_package

pytestmark = needs_package("tcpconnect")


def traced(**settings: object) -> closing[Traced]:
    return closing(Traced("tcpconnect", {"pid": os.getpid(), **settings}, ring="attempts"))


@pytest.fixture(params=["127.0.0.1", "::1"])
def address(request: pytest.FixtureRequest) -> str:
    if request.param == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    return str(request.param)


@pytest.fixture
def server(address: str) -> Iterator[socket.socket]:
    with socket.socket(_family(address)) as found:
        found.bind((address, 0))
        found.listen(64)
        yield found


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def unused(address: str) -> int:
    """A port that nobody listens at."""
    with socket.socket(_family(address)) as found:
        found.bind((address, 0))
        return int(found.getsockname()[1])


def test_connections_are_told_with_both_ends(address: str, server: socket.socket) -> None:
    ports = []
    with traced() as watch, ExitStack() as undo:
        for _ in range(20):
            client = undo.enter_context(socket.socket(server.family))
            client.connect(server.getsockname()[:2])
            ports.append(client.getsockname()[1])
        events = watch.take(20)
        assert watch.size("openings") == 0
    assert [each["local_port"] for each in events] == ports
    assert {each["remote_port"] for each in events} == {server.getsockname()[1]}
    assert {(each["local"], each["remote"]) for each in events} == {(address, address)}
    assert {(each["established"], each["error"]) for each in events} == {(True, "NONE")}
    assert {each["pid"] for each in events} == {os.getpid()}
    assert {each["comm"] for each in events} == {Path("/proc/self/comm").read_text().strip()}
    assert all(0 < each["duration_ns"] < 10**10 for each in events)
    assert not any(each["nonblocking"] for each in events)


def test_refusals_are_told_with_their_error(address: str, server: socket.socket) -> None:
    port = unused(address)
    with traced(failed="true") as watch:
        for _ in range(10):
            with socket.socket(server.family) as client:
                client.connect(server.getsockname()[:2])
            with (
                socket.socket(server.family) as client,
                pytest.raises(ConnectionRefusedError),
            ):
                client.connect((address, port))
        events = watch.take(10)
    assert {each["error"] for each in events} == {"ECONNREFUSED"}
    assert {each["remote_port"] for each in events} == {port}
    assert not any(each["established"] for each in events)


def test_an_attempt_that_is_given_up() -> None:
    with socket.socket() as server, traced() as watch, ExitStack() as undo:
        server.bind(("127.0.0.1", 0))
        # As soon as its queue is full, it does not answer.
        server.listen(0)
        clients = []
        for _ in range(4):
            clients.append(undo.enter_context(socket.socket()))
            clients[-1].setblocking(False)
            assert clients[-1].connect_ex(server.getsockname()) == 115  # EINPROGRESS
        early = [each["local_port"] for each in watch.rest()]
        port = clients[-1].getsockname()[1]
        assert port not in early
        clients[-1].close()
        given_up = [each for each in watch.rest() if each["local_port"] == port]
    assert [(each["established"], each["error"]) for each in given_up] == [(False, "NONE")]
    assert given_up[0]["nonblocking"] is True


def test_other_processes_are_left_out() -> None:
    with socket.socket() as server, traced(pid=os.getpid() + 1) as watch:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.socket() as client:
            client.connect(server.getsockname())
        assert watch.rest() == []
        assert watch.size("openings") == 0
