# SPDX-License-Identifier: Apache-2.0
"""lwt: programs in the routes of network namespaces see and drop packets; the routes become
what they were, also when nobody but the next daemon can make them so."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfd import attach, errors
from bpfd.attach.attachment import ATOMIC, Program
from bpfd.kernel import elf_object, netns, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2
from tests.kernel import clang
from tests.kernel.api import PINNED, Api
from tests.kernel.conftest import MakeDaemon
from tests.kernel.hooks_support import Pair, needs_root, open_fds, veth_pair

pytestmark = needs_root

CONNECTED = "10.211.7.0/24"
COUNTS = ("in", "out", "xmit", "passed")
"""enum packets of the source, in its order."""


class Loads:
    """The loaded programs and their counters."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def __getitem__(self, name: str) -> Program:
        each = self._loaded.programs[name]
        return Program(each.fd, each.id, name, each.type, each.expected_attach_type)

    def count(self, which: str) -> int:
        key = struct.pack("=I", COUNTS.index(which))
        value = syscall.map_lookup_elem(self._loaded.maps["packets"].fd, key, 8)
        return int(struct.unpack("=Q", value)[0])


@pytest.fixture
def programs() -> Iterator[Loads]:
    elf = clang.compiled("lwt")
    before = open_fds()
    try:
        loaded = elf_object.load("lwt", elf, LoadOptions())
    except errors.NotSupported as error:
        pytest.skip(str(error))
    yield Loads(loaded)
    loaded.close()
    assert open_fds() <= before, "files are left open"


@pytest.fixture
def pair(programs: Loads) -> Iterator[Pair]:
    """Skips where the kernel has no such routes."""
    with veth_pair() as found:
        try:
            attach.attach(programs["xmit_passes"], point(found)).close()
        except errors.NotSupported as error:
            pytest.skip(str(error))
        yield found


def point(
    pair: Pair, prefix: str = CONNECTED, where: str = "", **fields: object
) -> attach_pb2.AttachPoint:
    request = attach_pb2.Lwt(prefix=prefix, **fields)  # type: ignore[arg-type]
    request.interface.name = "hk0" if where else "hk1"
    request.interface.netns.name = where or pair.far
    return attach_pb2.AttachPoint(lwt=request)


def routes(namespace: str) -> str:
    command = ["ip", "-n", namespace, "route"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def arrives(pair: Pair, receiver: socket.socket) -> bool:
    with contextlib.suppress(PermissionError):  # what a sender is told of a dropped packet
        pair.send(b"packet")
    receiver.settimeout(0.2)
    try:
        return receiver.recv(64) == b"packet"
    except TimeoutError:
        return False


@pytest.mark.parametrize("way", ["out", "xmit"])
def test_packets_of_a_route_are_dropped(programs: Loads, pair: Pair, way: str) -> None:
    before = routes(pair.far)
    with pair.receiver() as receiver:
        assert arrives(pair, receiver)
        attachment = attach.attach(programs[f"{way}_drops"], point(pair))
        assert (attachment.method, attachment.pinnable) == ("route", False)
        assert f"encap bpf {way} bpfd-" in routes(pair.far)
        assert not arrives(pair, receiver)
        assert programs.count(way) == 1
        attachment.close()
        assert arrives(pair, receiver)
    assert routes(pair.far) == before


def test_packets_to_forward_are_dropped(programs: Loads, pair: Pair) -> None:
    with netns.entered(f"/run/netns/{pair.near}"):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    subprocess.run(
        ["ip", "-n", pair.far, "route", "add", "10.99.0.0/16", "via", pair.address], check=True
    )
    attachment = attach.attach(programs["in_drops"], point(pair, "10.99.0.0/16", pair.near))
    with netns.entered(f"/run/netns/{pair.far}"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.sendto(b"packet", ("10.99.0.1", 7777))
    assert programs.count("in") == 1
    attachment.close()
    assert "10.99.0.0/16" not in routes(pair.near)


def test_a_route_that_was_not_there_goes_again(programs: Loads, pair: Pair) -> None:
    before = routes(pair.far)
    for family, prefix, host in (
        (socket.AF_INET, "10.98.0.0/16", "10.98.0.1"),
        (socket.AF_INET6, "fd00:98::/32", "fd00:98::1"),
    ):
        dropped = programs.count("xmit")
        attachment = attach.attach(programs["xmit_drops"], point(pair, prefix, headroom=64))
        with netns.entered(f"/run/netns/{pair.far}"):
            sender = socket.socket(family, socket.SOCK_DGRAM)
        with sender, contextlib.suppress(PermissionError):
            sender.sendto(b"packet", (host, 7777))
        assert programs.count("xmit") == dropped + 1
        attachment.close()
    assert routes(pair.far) == before


def test_another_program_takes_its_place(programs: Loads, pair: Pair) -> None:
    before = routes(pair.far)
    with pair.receiver() as receiver:
        attachment = attach.attach(programs["xmit_drops"], point(pair))
        assert attachment.update(programs["xmit_passes"]) == ATOMIC
        assert arrives(pair, receiver)
        assert programs.count("passed") == 1
        with pytest.raises(errors.InvalidArgument, match="another way"):
            attachment.update(programs["out_drops"])
        assert arrives(pair, receiver)
        attachment.close()
    assert routes(pair.far) == before


def test_a_journal_takes_it_over_and_back(programs: Loads, pair: Pair) -> None:
    before = routes(pair.far)
    journal = attach.plan(programs["xmit_drops"], point(pair))
    assert journal is not None
    attachment = attach.attach(programs["xmit_drops"], point(pair), journal)
    attachment.release()
    read = attach.journal_from_json(journal.to_json())
    adopted = attach.adopt_journal(read)
    assert adopted is not None
    with pair.receiver() as receiver:
        assert not arrives(pair, receiver)
        assert adopted.update(programs["xmit_passes"]) == ATOMIC
        assert arrives(pair, receiver)
        adopted.release()
        read.undo()
        assert routes(pair.far) == before
        read.undo()
    assert attach.adopt_journal(read) is None


def test_a_route_of_someone_else_is_left_alone(programs: Loads, pair: Pair) -> None:
    attachment = attach.attach(programs["xmit_passes"], point(pair))
    with pytest.raises(errors.AttachBusy, match="bpfd-"):
        attach.attach(programs["xmit_drops"], point(pair))
    change = ["route", "replace", CONNECTED, "dev", "hk1", "src", "10.211.7.1", "metric", "0"]
    subprocess.run(["ip", "-n", pair.far, *change, "mtu", "1400"], check=True)
    changed = routes(pair.far)
    with pytest.raises(errors.NotFound, match="someone changed it"):
        attachment.update(programs["xmit_drops"])
    attachment.close()
    assert routes(pair.far) == changed


@pytest.mark.parametrize(
    ("prefix", "fields", "said"),
    [
        ("10.0.0.1/8", {}, "has host bits set"),
        ("", {}, r"lwt\.prefix"),
        (CONNECTED, {"headroom": 300}, "at most 256"),
    ],
)
def test_bad_requests(
    programs: Loads, pair: Pair, prefix: str, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=said):
        attach.attach(programs["xmit_drops"], point(pair, prefix, **fields))  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument, match="for programs of xmit"):
        attach.attach(programs["in_drops"], point(pair, headroom=1))


def test_it_outlives_a_killed_daemon(
    programs: Loads, pair: Pair, make_daemon: MakeDaemon
) -> None:
    before = routes(pair.far)
    daemon = make_daemon()
    daemon.start()
    with daemon.channel() as channel, pair.receiver() as receiver:
        api = Api(channel)
        api.load("lwt", clang.compiled("lwt"), PINNED)
        link = api.attach("lwt/xmit_drops", point(pair))
        assert link.method == "route"
        assert not arrives(pair, receiver)
        daemon.kill()
        assert not arrives(pair, receiver)
    daemon.start()
    with daemon.channel() as channel, pair.receiver() as receiver:
        api = Api(channel)
        assert not arrives(pair, receiver)
        assert api.unload("lwt") == ["lwt/xmit_drops"]
        assert arrives(pair, receiver)
    assert routes(pair.far) == before
