# SPDX-License-Identifier: Apache-2.0
"""Package tcpretrans: segments that have to be sent again, as many as the kernel counts."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bpfd.kernel import netns
from tests.kernel.hooks_support import Pair, veth_pair
from tests.kernel.traced_package import SECONDS, Traced, needs_package

pytestmark = needs_package("tcpretrans")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def place(pair: Pair) -> str:
    return f"/run/netns/{pair.far}"


def traced(pair: Pair) -> closing[Traced]:
    return closing(
        Traced("tcpretrans", {"netns": os.stat(place(pair)).st_ino}, ring="segments")
    )


def sent_again(pair: Pair) -> int:
    """What the kernel counts there (RFC 4022, tcpRetransSegs)."""
    with netns.entered(place(pair)):
        # Of this thread, whose namespace it is, not of the process.
        text = Path("/proc/thread-self/net/snmp").read_text()
    names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def until(pair: Pair, watch: Traced, enough: int) -> list[Any]:
    """Events till there are so many, and as many as the kernel counts."""
    events: list[Any] = []
    end = time.monotonic() + SECONDS
    while len(events) < enough or len(events) != sent_again(pair):
        assert time.monotonic() < end, (events, sent_again(pair))
        events += watch.rest()
        time.sleep(0.02)
    assert watch.lost() == 0
    return events


def test_data_that_nobody_acknowledges(pair: Pair) -> None:
    with netns.entered(f"/run/netns/{pair.near}"):
        server = socket.socket()
    with netns.entered(place(pair)):
        client = socket.socket()
    with server, client, traced(pair) as watch:
        server.bind((pair.address, 0))
        server.listen()
        client.connect(server.getsockname())
        pair.ip("addr", "del", f"{pair.address}/24", "dev", "hk0")
        client.send(b"x" * 100)
        events = until(pair, watch, 3)
    assert {(each["state"], each["bytes"]) for each in events} == {("ESTABLISHED", 100)}
    assert {each["remote_port"] for each in events} == {server_port(events)}
    assert {each["remote"] for each in events} == {pair.address}
    assert len({each["sequence"] for each in events}) == 1
    # RFC 8985: a probe, then the timer, which runs out later each time.
    rules = [each["rule"] for each in events]
    assert rules[0] in ("TAIL_LOSS_PROBE", "TIMEOUT")
    assert set(rules[1:]) == {"TIMEOUT"}
    timeouts = [each["timeouts"] for each in events if each["rule"] == "TIMEOUT"]
    assert timeouts == sorted(timeouts)
    times = [each["time_ns"] for each in events]
    assert times == sorted(times)


def server_port(events: list[Any]) -> int:
    port = events[0]["remote_port"]
    assert port
    return int(port)


def test_a_syn_that_nobody_answers(pair: Pair) -> None:
    pair.ip("addr", "del", f"{pair.address}/24", "dev", "hk0")
    with netns.entered(place(pair)):
        client = socket.socket()
    with client, traced(pair) as watch:
        client.setblocking(False)
        assert client.connect_ex((pair.address, 7)) == 115  # EINPROGRESS
        (event,) = until(pair, watch, 1)
    assert (event["state"], event["rule"], event["bytes"]) == ("SYN_SENT", "TIMEOUT", 1)
    assert event["remote_port"] == 7


def test_other_network_namespaces_are_left_out(pair: Pair) -> None:
    pair.ip("addr", "del", f"{pair.address}/24", "dev", "hk0")
    near = os.stat(f"/run/netns/{pair.near}").st_ino
    with netns.entered(place(pair)):
        client = socket.socket()
    with (
        client,
        traced(pair) as watch,
        closing(Traced("tcpretrans", {"netns": near}, ring="segments")) as other,
    ):
        client.setblocking(False)
        client.connect_ex((pair.address, 7))
        until(pair, watch, 1)
        assert other.rest() == []
