# SPDX-License-Identifier: Apache-2.0
"""The README's tour and the packages of bpf/ from the workstation, at a board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.cli_support import Cli, wait_for
from tests.kernel.ddos_filter import TCP4, UDP4, UDP6
from tests.kernel.test_readme import ROOT, tour
from tests.vm import expected
from tests.vm.ready import ReadyBoard

FRAMES = 500


@pytest.fixture
def nothing_left(board: ReadyBoard) -> Iterator[None]:
    """Nothing is loaded or attached after the test."""
    yield
    with board.target() as target:
        assert [each.name for each in target.objects()] == []
        assert [each.name for each in target.links()] == []


def test_the_tour(bpfctl: Cli, recipe: str, nothing_left: None) -> None:
    environment = {
        **bpfctl.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    refused = []
    for line in tour()[1:]:  # the first activates the virtual environment
        done = subprocess.run(
            line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True
        )
        if done.returncode and expected.lacks(recipe, "kernel BTF"):
            assert "BTF" in done.stderr, f"{line}\n{done.stderr}"
            refused.append(line)
        else:
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    # What needs the kernel's types says so; all the rest works without them.
    assert all("tcplife" in line for line in refused), refused


def packets(bpfctl: Cli) -> dict[str, int]:
    """The packets that the filter counted, by reason."""
    rows = bpfctl.json("map", "dump", "ddos/counters")
    return {row["key"]: row["value"]["packets"] for row in rows if row["value"]["packets"]}


def become(bpfctl: Cli, wanted: dict[str, int]) -> None:
    """Waits until the counters are so; frames are on their way for a moment."""
    until = time.monotonic() + 20
    while (found := packets(bpfctl)) != wanted:
        assert time.monotonic() < until, f"{found} and not {wanted}"
        time.sleep(0.2)


def test_the_filter_at_a_network_card(
    bpfctl: Cli, board: ReadyBoard, nothing_left: None
) -> None:
    wire = board.lab.wire
    bpfctl("load", "bpf/ddos", "--set", "sample_every=1")
    board.run("ip link set eth1 down; echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6")
    board.run("ip link set eth1 up promisc on")  # the frames are for no address of the card
    bpfctl("attach", "ddos/ddos", "xdp:eth1")
    bpfctl("map", "set", "ddos/block_v4", "10.1.0.0/16", "7")
    for _ in range(FRAMES):
        wire.send(UDP4)
        wire.send(UDP6)
    become(bpfctl, {"BLOCKED_SOURCE_V4": FRAMES, "PASSED": FRAMES})
    bpfctl("load", "bpf/ddos", "--replace", "--variant", "v2", "--set", "sample_every=1")
    bpfctl("map", "set", "ddos/allow_v4", "10.1.2.3/32", "1")
    for _ in range(FRAMES):
        wire.send(TCP4)
    become(
        bpfctl,
        {"BLOCKED_SOURCE_V4": FRAMES, "PASSED": FRAMES, "PASSED_SOURCE": FRAMES},
    )
    bpfctl("unload", "ddos")
    assert "xdp" not in board.run("ip link show eth1")


def test_connections_are_told(
    bpfctl: Cli, board: ReadyBoard, recipe: str, nothing_left: None
) -> None:
    done = bpfctl.try_("run", "bpf/tcplife", "--duration", "1")
    if done.returncode and expected.lacks(recipe, "kernel BTF"):
        # This workstation does not know it either.
        assert "BTF" in done.stderr
        return
    with bpfctl.started("run", "bpf/tcplife", "--count", "2", "-o", "jsonl") as running:
        wait_for(running, "attached")
        board.run(
            "(echo hello | nc -l -p 999 >/dev/null) & sleep 1; nc 127.0.0.1 999 </dev/null"
        )
        out, err = running.communicate(timeout=60)
        assert running.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    events = [row["event"] for row in rows if row["map"] == "ended"]
    assert sorted(event["bytes_sent"] for event in events) == [0, 6]
    assert {999} <= {event["local_port"] for event in events}
