# SPDX-License-Identifier: Apache-2.0
"""netkit: packets between two network namespaces that a netkit pair joins."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC, Program
from bpfd.kernel import elf_object, netns, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.v1 import attach_pb2
from tests.kernel import clang
from tests.kernel.hooks_support import Pair, needs_root, open_fds, veth_pair

pytestmark = needs_root

NEAR, FAR = "10.212.7.2", "10.212.7.1"


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
    def passed(self) -> int:
        return self._count(1)


@pytest.fixture
def programs() -> Iterator[Loads]:
    elf = clang.compiled("netkit")
    before = open_fds()
    loaded = elf_object.load("netkit", elf, LoadOptions())
    yield Loads(loaded)
    loaded.close()
    assert open_fds() <= before, "files are left open"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def namespaces() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


@pytest.fixture
def pair(namespaces: Pair) -> Pair:
    """The primary device prim0 in the near namespace, its peer in the far one."""
    near, far = namespaces.near, namespaces.far
    made = subprocess.run(
        ["ip", "-n", near, "link", "add", "prim0", "type", "netkit"],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"this kernel has no netkit: {made.stderr.strip()}")
    with netns.entered(f"/run/netns/{near}"):
        (peer,) = [name for _, name in socket.if_nameindex() if name.startswith("nk")]
    ip("-n", near, "link", "set", peer, "netns", far)
    for name, device, address in ((near, "prim0", NEAR), (far, peer, FAR)):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
        ip("-n", name, "link", "set", device, "up")
    return namespaces


def point(pair: Pair, **fields: object) -> attach_pb2.AttachPoint:
    request = attach_pb2.Netkit(**fields)  # type: ignore[arg-type]
    request.interface.name = "prim0"
    request.interface.netns.name = pair.near
    return attach_pb2.AttachPoint(netkit=request)


def arrives(sender: str, receiver: str, address: str) -> bool:
    """Whether a packet from one namespace reaches an address of the other."""
    with netns.entered(f"/run/netns/{receiver}"):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with netns.entered(f"/run/netns/{sender}"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listener, sock:
        listener.bind((address, 7777))
        listener.settimeout(0.3)
        sock.sendto(b"packet", (address, 7777))
        try:
            return listener.recv(64) == b"packet"
        except TimeoutError:
            return False


def test_what_the_primary_sends_is_dropped(programs: Loads, pair: Pair) -> None:
    assert arrives(pair.near, pair.far, FAR)
    attachment = attach.attach(programs["drops"], point(pair))
    assert attachment.method == "netkit link"
    assert not arrives(pair.near, pair.far, FAR)
    assert arrives(pair.far, pair.near, NEAR)
    assert programs.dropped == 1
    attachment.close()
    assert arrives(pair.near, pair.far, FAR)


def test_what_the_peer_sends_is_dropped(programs: Loads, pair: Pair) -> None:
    attachment = attach.attach(programs["peer_drops"], point(pair, peer=True))
    assert not arrives(pair.far, pair.near, NEAR)
    assert arrives(pair.near, pair.far, FAR)
    assert programs.dropped == 1
    attachment.close()


def test_order_and_exchange(programs: Loads, pair: Pair) -> None:
    drops = attach.attach(programs["drops"], point(pair))
    first = attach_pb2.Order(first=True)
    passes = attach.attach(programs["passes"], point(pair, order=first))
    assert not arrives(pair.near, pair.far, FAR)
    assert (programs.passed, programs.dropped) == (1, 1)
    passes.close()
    assert drops.update(programs["passes"]) == ATOMIC
    assert arrives(pair.near, pair.far, FAR)
    assert (programs.passed, programs.dropped) == (2, 1)
    missing = attach_pb2.Order(after_program_id=programs["drops"].id)
    with pytest.raises(errors.NotFound, match="not attached to netkit"):
        attach.attach(programs["drops"], point(pair, order=missing))
    drops.close()


@pytest.mark.parametrize("peer", [False, True])
def test_a_pinned_link_is_adopted(programs: Loads, pair: Pair, peer: bool) -> None:
    name = "peer_drops" if peer else "drops"
    first = attach.attach(programs[name], point(pair, peer=peer))
    pin = f"/sys/fs/bpf/nk-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        adopted = adopt([syscall.obj_get(pin)])
    finally:
        os.unlink(pin)
    found = find_point(adopted.fds).netkit
    adopted.close()
    assert (found.interface.netns.path, found.peer) == (f"/run/netns/{pair.near}", peer)
    assert found.interface.ifindex == pair.indexes()["prim0"]
    assert arrives(pair.far, pair.near, NEAR)
    assert arrives(pair.near, pair.far, FAR)


def test_no_netkit_device(programs: Loads, namespaces: Pair) -> None:
    where = attach_pb2.AttachPoint(netkit=attach_pb2.Netkit(interface=namespaces.interface()))
    try:
        attach.attach(programs["drops"], where)
    except errors.NotSupported as error:
        assert "CONFIG_NETKIT" in str(error)  # noqa: PT017
    except errors.KernelError as error:
        assert "no netkit device" in str(error)  # noqa: PT017
    else:
        pytest.fail("it was attached to a veth")
