# SPDX-License-Identifier: Apache-2.0
"""Chains of XDP programs in tests: their counters, and a flood that loses nothing by itself."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bpfd.attach.chain import load as chain_load
from bpfd.kernel import interface, netns, syscall
from bpfd.kernel.constants import Cmd
from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2
from tests.kernel import clang
from tests.kernel.api import PINNED, Api, eventually, program
from tests.kernel.hooks_support import Pair, xdp

DROP, PASS, TX = 1, 2, 3
_TURNS = 64
_WINDOW = 128
"""Packets on their way: half of the ring of a veth, which drops what it has no place for."""


def place(
    pair: Pair,
    priority: int,
    *proceed_on: int,
    mode: attach_pb2.XdpMode.ValueType = attach_pb2.XDP_MODE_UNSPECIFIED,
) -> attach_pb2.AttachPoint:
    """A place in the chain of the near end."""
    point = xdp(pair, mode)
    point.xdp.priority = priority
    point.xdp.proceed_on.extend(proceed_on)
    return point


class Counters:
    """The maps of programs/xdp_chain.bpf.c."""

    def __init__(self, hits: int, verdicts: int, turns: int) -> None:
        self._hits, self._verdicts, self._turns = hits, verdicts, turns

    def hits(self, number: int) -> int:
        """How often a member ran."""
        value = syscall.map_lookup_elem(self._hits, struct.pack("=I", number), 8)
        return int(struct.unpack("=Q", value)[0])

    def set_verdict(self, number: int, verdict: int) -> None:
        """What a member returns."""
        key, value = struct.pack("=I", number), struct.pack("=I", verdict)
        syscall.map_update_elem(self._verdicts, key, value)

    def turns(self) -> list[int]:
        """Members that ran since the last call, in their order."""
        size = 4 + 4 * _TURNS
        value = syscall.map_lookup_elem(self._turns, bytes(4), size)
        syscall.map_update_elem(self._turns, bytes(4), bytes(size))
        count, *members = struct.unpack(f"={_TURNS + 1}I", value)
        return members[:count]


@contextmanager
def counters(ids: dict[str, int]) -> Iterator[Counters]:
    """Of an object's maps, by their kernel ids."""
    names = ("chain_hits", "chain_verdicts", "chain_turns")
    fds = [syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, ids[name]) for name in names]
    try:
        yield Counters(*fds)
    finally:
        for fd in fds:
            os.close(fd)


def received(pair: Pair) -> int:
    """Frames that the near end took from its ring, whatever XDP did with them."""
    words = ["ip", "-n", pair.near, "-s", "-j", "link", "show", "dev", "hk0"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return int(json.loads(said)[0]["stats64"]["rx"]["packets"])


def silence(pair: Pair) -> None:
    """Nothing but what the test sends: no neighbour discovery, no router solicitation."""
    for name, end in ((pair.far, "hk1"), (pair.near, "hk0")):
        subprocess.run(
            ["ip", "-n", name, "link", "set", end, "addrgenmode", "none"], check=True
        )
        subprocess.run(["ip", "-n", name, "-6", "addr", "flush", "dev", end], check=True)


class Flood:
    """Packets from far to near, as many as are taken; never more than fit on the way."""

    def __init__(self, pair: Pair, seen: Callable[[], int]) -> None:
        self._pair, self._seen = pair, seen
        self._stop = threading.Event()
        self.sent = 0
        self.thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        with netns.entered(f"/run/netns/{self._pair.far}"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        start = self._seen()
        with sock:
            sock.connect((self._pair.address, 7777))
            while not self._stop.is_set():
                room = _WINDOW - (self.sent - (self._seen() - start))
                if room <= 0:
                    time.sleep(0.0002)
                for _ in range(min(room, 32)):
                    try:
                        sock.send(b"x")
                    except ConnectionRefusedError:
                        continue
                    self.sent += 1

    def stop(self) -> None:
        """Returns when everything that was sent was taken."""
        self._stop.set()
        self.thread.join()


@contextmanager
def flood(pair: Pair, seen: Callable[[], int]) -> Iterator[Flood]:
    """Runs while the block does; `seen` says how many packets arrived so far."""
    running = Flood(pair, seen)
    running.thread.start()
    try:
        yield running
    finally:
        running.stop()


def load(
    api: Api, name: str = "chain", lifetime: common_pb2.Lifetime = PINNED, **fields: bool
) -> dict[str, int]:
    """Kernel ids of the object's maps."""
    answer = api.load(name, clang.compiled("xdp_chain"), lifetime, **fields)
    return {item.name: item.id for item in answer.object.maps}


def links(api: Api) -> dict[str, objects_pb2.Link]:
    """Links of the daemon by name."""
    found = api.links.List(links_pb2.ListLinksRequest()).links
    return {each.name: each for each in found}


def exchange(api: Api, link: str, to: str) -> links_pb2.UpdateLinkResponse:
    """Another program into a link."""
    return api.links.Update(links_pb2.UpdateLinkRequest(name=link, program=program(to)))


def session_of(api: Api) -> tuple[common_pb2.Lifetime, object]:
    """A session, and the stream that keeps it alive."""
    session, stream = api.open_session(label="test")
    return common_pb2.Lifetime(session=session), stream


def runs(pair: Pair) -> list[str]:
    """The members of what the interface runs, by its own account."""
    with netns.entered(f"/run/netns/{pair.near}"):
        state = interface.xdp_state(interface.index_of("hk0"))
    return [each.program for each in chain_load.members_of(state.native)]


@contextmanager
def exact(pair: Pair, found: Counters, *always: int) -> Iterator[Callable[[], int]]:
    """A flood of which each packet meets these members; gives how many there were so far."""

    def state() -> tuple[int, list[int]]:
        return received(pair), [found.hits(each) for each in always]

    # The interface counts a frame after the programs have seen it.
    before = None
    while before != (before := state()):
        time.sleep(0.05)
    base, start = before

    def packets() -> int:
        return received(pair) - base

    with flood(pair, lambda: found.hits(always[0])) as running:
        assert eventually(lambda: packets() > 500)
        yield packets
        so_far = packets()
        assert eventually(lambda: packets() > so_far + 500)

    def counts() -> list[int]:
        return [found.hits(each) - before for each, before in zip(always, start, strict=True)]

    eventually(lambda: counts() == [packets()] * len(always))
    assert counts() == [packets()] * len(always)
    assert packets() >= running.sent
