# SPDX-License-Identifier: Apache-2.0
"""Routes in the kernel's answers, as bytes, and the requests that change them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest

from bpfd.kernel import route, rtnetlink
from bpfd.kernel.rtnetlink import attribute

NETWORK = ipaddress.ip_network("10.1.0.0/16")


def answer(*attributes: bytes, bits: int = 16, table: int = 254, kind: int = 1) -> bytes:
    head = struct.pack("=BBBBBBBBI", 2, bits, 0, 0, table, 3, 253, kind, 0x10)
    return head + b"".join(attributes)


def to(prefix: str) -> bytes:
    return attribute(1, ipaddress.ip_address(prefix).packed)


def through(index: int) -> bytes:
    return attribute(4, struct.pack("=I", index))


def tunnel(name: bytes) -> bytes:
    program = attribute(3 | rtnetlink.NESTED, attribute(2, name + b"\0"))
    return attribute(21, struct.pack("=H", 6)) + attribute(22 | rtnetlink.NESTED, program)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found: list[bytes] = []

    def dump(*_: object) -> Iterator[bytes]:
        yield from found

    monkeypatch.setattr(rtnetlink, "dump", dump)
    return found


def test_the_route_to_exactly_this_prefix(answers: list[bytes]) -> None:
    answers += [
        answer(to("10.1.0.0"), through(3), bits=24),
        answer(to("10.1.0.0"), through(3), table=255),
        answer(to("10.1.0.0"), through(3), kind=2),
        answer(to("10.2.0.0"), through(3)),
        answer(to("10.1.0.0"), through(4)),
        answer(to("10.1.0.0"), through(3), attribute(12, bytes(32)), tunnel(b"bpfd-1-2")),
    ]
    found = route.find(NETWORK, 3)
    assert found is not None
    assert (found.tunnel, found.programs, found.spread) == (6, ("bpfd-1-2",), False)
    assert [kind for kind, _ in found.attributes] == [1, 4]
    assert route.Route.unpacked(found.packed()).packed() == found.packed()
    assert route.find(NETWORK, 5) is None


def test_several_next_hops(answers: list[bytes]) -> None:
    hops = struct.pack("=HBBi", 8, 0, 0, 7) + struct.pack("=HBBi", 8, 0, 0, 3)
    answers.append(answer(to("10.1.0.0"), attribute(9, hops)))
    found = route.find(NETWORK, 3)
    assert found is not None
    assert found.spread
    assert route.find(NETWORK, 4) is None
    answers[:] = [answer(to("10.1.0.0"), attribute(9, b"\0" * 8))]
    assert route.find(NETWORK, 3) is None


def test_a_program_in_a_new_route(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int, bytes]] = []
    monkeypatch.setattr(rtnetlink, "request", lambda *each: sent.append(each))
    made = route.plain(NETWORK, 3)
    route.set_program(made, route.XMIT, 9, "bpfd-1", 64, replace=False)
    ((kind, flags, payload),) = sent
    assert (kind, flags) == (24, rtnetlink.CREATE | rtnetlink.EXCLUSIVE)
    found = dict(rtnetlink.attributes(payload[12:]))
    assert found[1] == NETWORK.network_address.packed
    inner = dict(rtnetlink.attributes(found[22]))
    assert inner[4] == struct.pack("=I", 64)
    assert dict(rtnetlink.attributes(inner[3])) == {1: struct.pack("=I", 9), 2: b"bpfd-1\0"}


def test_a_route_that_is_gone_is_removed() -> None:
    def gone(*_: object) -> None:
        raise OSError(3, "no such process")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rtnetlink, "request", gone)
        route.remove(route.plain(NETWORK, 3))


def test_a_program_in_a_route() -> None:
    # ip route add 192.0.2.0/24 encap bpf xmit pinned ... dev 2; Linux 6.18
    told = bytes.fromhex(
        "02180000fe03fd010000000008000f00fe00000008000100c000020008000400020000001c0016001800"
        "0300110002006c77743a5b2a66736f626a5d000000000600150006000000"
    )
    found = route.Tunnel("192.0.2.0/24", 2, route.XMIT, "lwt:[*fsobj]", 0)
    assert route.tunnels_of(told) == [found]


def test_a_program_of_segment_routing() -> None:
    program = attribute(1, struct.pack("=I", 77)) + attribute(2, b"end\0")
    tunnel = attribute(22, attribute(8, program)) + attribute(21, struct.pack("=H", 7))
    assert route.tunnels_of(answer(to("10.1.0.0"), through(4), tunnel)) == [
        route.Tunnel("10.1.0.0/16", 4, 0, "end", 77)
    ]


def test_other_routes_have_no_program() -> None:
    mpls = attribute(22, b"\0" * 8) + attribute(21, struct.pack("=H", 1))
    assert route.tunnels_of(answer(to("10.1.0.0"), mpls)) == []
    assert route.tunnels_of(answer(bits=0)) == []
