# SPDX-License-Identifier: Apache-2.0
"""Both packages the way users deploy them: through the library and a daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpfctl
import pytest
from bpfctl.build import TargetFacts, build
from bpfctl.objects import LoadedObject, LoadSettings
from bpfctl.package import load_package
from bpfctl.records import reader
from bpfctl.target import Target

from bpfd.kernel import netns
from bpfd.v1 import programs_pb2
from tests.kernel.conftest import RunningDaemon
from tests.kernel.ddos_filter import DROP, PASS, TCP4, UDP4, UDP6
from tests.kernel.loaded_package import ip

pytestmark = pytest.mark.root


@pytest.fixture
def place() -> Iterator[str]:
    """A network namespace with a loopback and a veth pair; its name."""
    name = f"pk-{os.getpid()}-deploy"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "add", "spare", "type", "veth", "peer", "other")
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "delete", name)


@pytest.fixture
def target(daemon: RunningDaemon) -> Iterator[Target]:
    with bpfctl.connect(f"unix:{daemon.socket}") as connected:
        yield connected


def deploy(
    target: Target,
    name: str,
    variant: str | None = None,
    replace: bool = False,
    **settings: str,
) -> LoadedObject:
    package = load_package(name)
    info = target.info()
    facts = TargetFacts(info.machine, info.big_endian, info.pointer_bits, info.btf_sha256.hex())
    elf = build(package.source_path(variant), facts, target.btf.kernel_bytes).object
    wanted = package.resolve(settings)
    changes = LoadSettings(constants=wanted.constants, map_entries=wanted.sizes)
    return target.load(elf, name, settings=changes, replace=replace)


def run(target: Target, packet: bytes) -> int:
    request = programs_pb2.TestRunRequest(program=target.program_ref("ddos/ddos"), data=packet)
    return int(target.rpc.programs.TestRun(request).return_value)


def take(target: Target, name: str, count: int) -> list[dict[str, Any]]:
    """So many events of a ring, none lost."""
    found: list[dict[str, Any]] = []
    records = reader(target.map(name))
    with target.events(name) as stream:
        for batch in stream:
            found += records.rows(batch)
            if len(found) >= count:
                break
        assert stream.losses.total == 0
    assert len(found) == count
    return found


def test_ddos_filters_and_tells_what_it_dropped(target: Target, place: str) -> None:
    with deploy(target, "ddos", sample_every="1") as loaded:
        link = loaded.attach("ddos", f"xdp:spare,netns={place}")
        assert link.method == "native"
        assert run(target, UDP4) == PASS
        loaded.map("block_v4").set("10.1.0.0/16", "7")
        loaded.map("block_v6").set("2001:db8:1::/48", "8")
        assert [run(target, packet) for packet in (UDP4, TCP4, UDP6)] == [DROP] * 3
        loaded.map("allow_v4").set("10.1.2.3", "1")
        assert run(target, UDP4) == PASS
        events = take(target, "ddos/drops", 3)
    reasons = ["BLOCKED_SOURCE_V4", "BLOCKED_SOURCE_V4", "BLOCKED_SOURCE_V6"]
    assert [event["reason"] for event in events] == reasons
    assert [event["rule"] for event in events] == [7, 7, 8]
    assert [event["source"] for event in events] == ["10.1.2.3", "10.1.2.3", "2001:db8:1::3"]


def test_ddos_is_replaced_and_keeps_what_it_knows(target: Target, place: str) -> None:
    with deploy(target, "ddos") as first:
        link = first.attach("ddos", f"xdp:spare,netns={place}")
        first.map("block_v4").set("10.1.0.0/16", "7")
        assert run(target, UDP4) == DROP
        second = deploy(target, "ddos", "v2", replace=True)
        assert second.programs["ddos"].id != first.programs["ddos"].id
        (moved,) = target.links()
        assert (moved.name, moved.link_ids) == (link.name, link.link_ids)
        assert moved.program_id == second.programs["ddos"].id
        assert run(target, UDP4) == DROP
        seen = [row["value"]["packets"] for row in second.map("versions").rows()]
        assert seen == [1, 1]


def test_tcplife_tells_of_a_connection(target: Target, place: str) -> None:
    path = Path("/run/netns", place)
    with deploy(target, "tcplife", netns=str(path.stat().st_ino)) as loaded:
        loaded.attach("tcplife", "tracepoint:sock/inet_sock_set_state")
        with netns.entered(str(path)):
            server = socket.create_server(("127.0.0.1", 0))
            client = socket.create_connection(server.getsockname())
        with server, client, server.accept()[0] as accepted:
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"
            name = client.getsockname()
        events = take(target, "tcplife/ended", 2)
    (opened,) = (event for event in events if event["origin"] == "OPENED")
    assert (opened["local"], opened["local_port"]) == name
    assert (opened["bytes_sent"], opened["pid"]) == (5, os.getpid())


@pytest.mark.parametrize("name", ["ddos", "tcplife"])
def test_the_features_of_a_package_are_those_that_targets_report(
    target: Target, name: str
) -> None:
    reported = {feature.name for feature in target.info(features=True).features}
    for feature in load_package(name).features:
        assert {feature.name, *feature.alternatives} <= reported
