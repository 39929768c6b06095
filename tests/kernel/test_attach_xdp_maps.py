# SPDX-License-Identifier: Apache-2.0
"""XDP programs behind a redirect (devmap, cpumap), and packets in several pieces."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.features import PROBES
from bpfd.kernel import netns, syscall
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.api import eventually
from tests.kernel.hooks_support import Pair, needs_root, veth_pair, xdp
from tests.kernel.numbered import Numbered, numbered

pytestmark = needs_root

DEVICE, CPU, PEER, WHOLE, LENGTH, LINEAR, BYTE = range(7)
SO_NO_CHECK = 11
"""Of asm-generic/socket.h."""
SLOT = struct.pack("=I", 0)


@pytest.fixture
def loaded() -> Iterator[Numbered]:
    with numbered("xdp_maps") as found:
        yield found


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def number(loaded: Numbered, which: int) -> int:
    """A counter of the programs."""
    value = syscall.map_lookup_elem(loaded.map_fd("numbers"), struct.pack("=I", which), 8)
    return int(struct.unpack("=Q", value)[0])


def second_way(pair: Pair) -> int:
    """Another pair of interfaces between the two; the number of its near end."""
    ends = ("hd0", "netns", pair.near, "type", "veth", "peer", "hd1", "netns", pair.far)
    subprocess.run(["ip", "link", "add", *ends], check=True)
    for namespace, end in ((pair.near, "hd0"), (pair.far, "hd1")):
        subprocess.run(["ip", "-n", namespace, "link", "set", end, "up"], check=True)
    return pair.indexes()["hd0"]


def send(pair: Pair, text: bytes) -> None:
    """A packet without a checksum: veth leaves that to be computed, and a packet that went to
    another CPU does not say so any more."""
    with netns.entered(f"/run/netns/{pair.far}"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        sock.sendto(text, (pair.address, 7777))


def far_end(pair: Pair) -> attach_pb2.AttachPoint:
    where = common_pb2.Interface(name="hd1", netns=common_pb2.Netns(name=pair.far))
    return attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=where))


def test_a_program_of_a_devmap(loaded: Numbered, pair: Pair) -> None:
    ifindex = second_way(pair)
    # veth takes redirected packets where its other end has a program.
    peer = attach.attach(loaded["peer"], far_end(pair))
    for name, arrives in (("device_passes", 1), ("device_drops", 0)):
        value = struct.pack("=Ii", ifindex, loaded[name].fd)
        with netns.entered(f"/run/netns/{pair.near}"):  # where the number means something
            syscall.map_update_elem(loaded.map_fd("devices"), SLOT, value)
        attachment = attach.attach(loaded["to_device"], xdp(pair))
        seen, arrived = number(loaded, DEVICE), number(loaded, PEER)
        pair.send(b"redirected")
        assert eventually(lambda seen=seen: number(loaded, DEVICE) == seen + 1)  # type: ignore[misc]
        assert eventually(
            lambda wanted=arrived + arrives: number(loaded, PEER) == wanted  # type: ignore[misc]
        )
        attachment.close()
    peer.close()


@pytest.mark.parametrize("name", ["cpu_passes", "cpu_drops"])
def test_a_program_of_a_cpumap(loaded: Numbered, pair: Pair, name: str) -> None:
    value = struct.pack("=Ii", 192, loaded[name].fd)
    syscall.map_update_elem(loaded.map_fd("cpus"), SLOT, value)
    attachment = attach.attach(loaded["to_cpu"], xdp(pair))
    with pair.receiver() as receiver:
        send(pair, b"by another CPU")
        assert eventually(lambda: number(loaded, CPU) == 1)
        if name == "cpu_passes":
            assert receiver.recv(100) == b"by another CPU"
        attachment.close()
        pair.send(b"by this CPU")
        assert receiver.recv(100) == b"by this CPU"


def test_they_are_not_attached_to_interfaces(loaded: Numbered, pair: Pair) -> None:
    for name in ("device_drops", "cpu_drops"):
        with pytest.raises(errors.InvalidArgument, match="loaded for a devmap or cpumap"):
            attach.attach(loaded[name], xdp(pair))


def test_packets_in_several_pieces(pair: Pair) -> None:
    """A large MTU, which native XDP takes with xdp.frags programs alone."""
    try:
        PROBES["XDP fragments"].run()
    except OSError as error:
        pytest.skip(f"no XDP fragments: {os.strerror(error.errno or 0)}")
    for namespace, end in ((pair.near, "hk0"), (pair.far, "hk1")):
        subprocess.run(["ip", "-n", namespace, "link", "set", end, "mtu", "9000"], check=True)
    with numbered("xdp_maps", "FRAGS") as loaded, pair.receiver() as receiver:
        native = xdp(pair, attach_pb2.XDP_MODE_NATIVE)
        with pytest.raises(errors.KernelError, match="smaller MTU"):
            attach.attach(loaded["peer"], native)
        attachment = attach.attach(loaded["whole"], native)
        pair.send(b"x" * 7999 + b"d")
        pair.send(b"x" * 7999 + b"p")
        assert receiver.recv(9000)[-1:] == b"p"
        attachment.close()
        assert number(loaded, WHOLE) == 2
        assert number(loaded, LENGTH) == 2 * (8000 + 42)
        assert number(loaded, LINEAR) < number(loaded, LENGTH)
        assert number(loaded, BYTE) == ord("d") + ord("p")
