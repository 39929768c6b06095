# SPDX-License-Identifier: Apache-2.0
"""Package ddos: every shape that headers can have, right and wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kernel import packets as p
from tests.kernel.ddos_filter import DROP, LISTS, PASS, TCP4, TCP6, UDP4, UDP6, Filter, Filters

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading XDP programs needs root"),
]


@pytest.fixture(scope="module")
def filters() -> Iterator[Filters]:
    with Filters() as loaded:
        yield loaded


@pytest.fixture
def own() -> Iterator[Filters]:
    """For filters that only one test needs."""
    with Filters() as loaded:
        yield loaded


@pytest.fixture(scope="module")
def plain(filters: Filters) -> Filter:
    return filters.load()


@pytest.fixture
def ddos(plain: Filter) -> Filter:
    """The filter as it comes, with empty lists."""
    plain.package.clear(*LISTS)
    return plain


# VLAN tags


@pytest.mark.parametrize("kind", [p.VLAN, p.SERVICE_VLAN, p.OLD_SERVICE_VLAN])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("network", "packet", "reason"),
    [(p.IPV4, UDP4, "BLOCKED_SOURCE_V4"), (p.IPV6, UDP6, "BLOCKED_SOURCE_V6")],
    ids=["ipv4", "ipv6"],
)
def test_looks_behind_vlan_tags(
    ddos: Filter, kind: int, count: int, network: int, packet: bytes, reason: str
) -> None:
    ddos.package.set("block_v4", "10.1.0.0/16", "1")
    ddos.package.set("block_v6", "2001:db8:1::/48", "1")
    ddos.expect(p.ethernet(network, packet[14:], [(kind, 100)] * count), reason)


def test_more_vlan_tags_than_it_follows_are_malformed(ddos: Filter) -> None:
    ddos.expect(p.ethernet(p.IPV4, UDP4[14:], [(p.VLAN, 1)] * 5), "MALFORMED")


# IPv4 options and fragments


@pytest.mark.parametrize("size", range(0, 41, 4))
def test_finds_ports_behind_ipv4_options(ddos: Filter, size: int) -> None:
    ddos.package.set("ports", "protocol=17 port=53", "PORT_BLOCKED")
    packet = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 53), options=b"\x01" * size))
    ddos.expect(packet, "BLOCKED_PORT")


def test_the_first_fragment_has_ports_and_later_ones_have_none(ddos: Filter) -> None:
    ddos.package.set("ports", "protocol=17 port=53", "PORT_BLOCKED")
    first = p.ipv4(p.UDP, p.udp(1, 53, bytes(16), length=64), more=True)
    # Would be a blocked port, were it not payload.
    middle = p.ipv4(p.UDP, p.udp(1, 53, bytes(16)), offset=24, more=True)
    last = p.ipv4(p.UDP, p.udp(1, 53, bytes(16)), offset=48)
    ddos.expect(p.ethernet(p.IPV4, first), "BLOCKED_PORT")
    ddos.expect(p.ethernet(p.IPV4, middle), "PASSED_FRAGMENT")
    ddos.expect(p.ethernet(p.IPV4, last), "PASSED_FRAGMENT")


def test_the_first_ipv6_fragment_has_ports_and_later_ones_have_none(ddos: Filter) -> None:
    ddos.package.set("ports", "protocol=17 port=53", "PORT_BLOCKED")
    udp = p.udp(1, 53, bytes(16))
    first = p.ipv6(p.FRAGMENT, p.fragment(p.UDP, udp, more=True))
    middle = p.ipv6(p.FRAGMENT, p.fragment(p.UDP, udp, offset=24, more=True))
    last = p.ipv6(p.FRAGMENT, p.fragment(p.UDP, udp, offset=48))
    atomic = p.ipv6(p.FRAGMENT, p.fragment(p.UDP, udp))
    ddos.expect(p.ethernet(p.IPV6, first), "BLOCKED_PORT")
    ddos.expect(p.ethernet(p.IPV6, middle), "PASSED_FRAGMENT")
    ddos.expect(p.ethernet(p.IPV6, last), "PASSED_FRAGMENT")
    ddos.expect(p.ethernet(p.IPV6, atomic), "BLOCKED_PORT")


@pytest.mark.parametrize("offset", [8 << bit for bit in range(13)] + [65528])
def test_every_bit_of_the_offset_makes_a_later_fragment(ddos: Filter, offset: int) -> None:
    packet = p.ipv4(p.UDP, bytes(16), offset=offset)
    ddos.expect(p.ethernet(p.IPV4, packet), "PASSED_FRAGMENT")
    packet = p.ipv6(p.FRAGMENT, p.fragment(p.UDP, bytes(16), offset=offset))
    ddos.expect(p.ethernet(p.IPV6, packet), "PASSED_FRAGMENT")


def test_later_fragments_of_blocked_sources_are_dropped(ddos: Filter) -> None:
    ddos.package.set("block_v4", "10.1.0.0/16", "1")
    ddos.package.set("block_v6", "2001:db8:1::/48", "1")
    later = p.ethernet(p.IPV4, p.ipv4(p.UDP, bytes(16), offset=24))
    later6 = p.ethernet(p.IPV6, p.ipv6(p.FRAGMENT, p.fragment(p.UDP, bytes(8), offset=24)))
    ddos.expect(later, "BLOCKED_SOURCE_V4")
    ddos.expect(later6, "BLOCKED_SOURCE_V6")


def test_drop_fragments_drops_them_all_and_nothing_else(own: Filters) -> None:
    ddos = own.load(drop_fragments="true")
    udp = p.udp(1, 53, bytes(16))
    for offset, more in ((0, True), (24, True), (48, False)):
        packet = p.ipv4(p.UDP, udp, offset=offset, more=more)
        ddos.expect(p.ethernet(p.IPV4, packet), "BLOCKED_FRAGMENT")
        packet = p.ipv6(p.FRAGMENT, p.fragment(p.UDP, udp, offset, more))
        ddos.expect(p.ethernet(p.IPV6, packet), "BLOCKED_FRAGMENT")
    ddos.expect(p.ethernet(p.IPV6, p.ipv6(p.FRAGMENT, p.fragment(p.UDP, udp))), "PASSED")
    ddos.expect(UDP4, "PASSED")
    ddos.package.set("allow_v4", "10.1.0.0/16", "1")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(p.UDP, udp, more=True)), "PASSED_SOURCE")


# IPv6 extension headers

EXTENSIONS = [p.HOP_BY_HOP, p.ROUTING, p.DESTINATION_OPTIONS, p.MOBILITY, p.HIP, p.SHIM6]


@pytest.mark.parametrize("kind", EXTENSIONS)
@pytest.mark.parametrize("more", [0, 1, 2, 31])
def test_finds_ports_behind_an_extension_header(ddos: Filter, kind: int, more: int) -> None:
    ddos.package.set("ports", "protocol=6 port=80", "PORT_BLOCKED")
    packet = p.ipv6(kind, p.extension(p.TCP, p.tcp(1, 80), more))
    ddos.expect(p.ethernet(p.IPV6, packet), "BLOCKED_PORT")


@pytest.mark.parametrize("check_bytes", [0, 4, 12, 32])
def test_finds_ports_behind_an_authentication_header(ddos: Filter, check_bytes: int) -> None:
    ddos.package.set("ports", "protocol=6 port=80", "PORT_BLOCKED")
    packet = p.ipv6(p.AUTHENTICATION, p.authentication(p.TCP, p.tcp(1, 80), check_bytes))
    ddos.expect(p.ethernet(p.IPV6, packet), "BLOCKED_PORT")


def chain(count: int, payload: bytes, last: int) -> bytes:
    """An IPv6 packet with `count` destination options in front of the payload."""
    kind = last
    for _ in range(count):
        payload = p.extension(kind, payload)
        kind = p.DESTINATION_OPTIONS
    return p.ethernet(p.IPV6, p.ipv6(kind, payload))


@pytest.mark.parametrize("count", range(9))
def test_follows_a_chain_of_extension_headers(ddos: Filter, count: int) -> None:
    ddos.package.set("ports", "protocol=6 port=80", "PORT_BLOCKED")
    ddos.expect(chain(count, p.tcp(1, 80), p.TCP), "BLOCKED_PORT")


def test_longer_chains_than_it_follows_are_malformed(ddos: Filter) -> None:
    ddos.expect(chain(9, p.tcp(1, 80), p.TCP), "MALFORMED")


def test_a_first_fragment_between_extension_headers(ddos: Filter) -> None:
    ddos.package.set("ports", "protocol=6 port=80", "PORT_BLOCKED")
    inner = p.fragment(
        p.DESTINATION_OPTIONS, p.extension(p.TCP, p.tcp(1, 80)), offset=0, more=True
    )
    packet = p.ipv6(p.HOP_BY_HOP, p.extension(p.FRAGMENT, inner))
    ddos.expect(p.ethernet(p.IPV6, packet), "BLOCKED_PORT")


@pytest.mark.parametrize("protocol", [p.ESP, p.NO_NEXT, 255])
def test_protocols_without_ports_pass(ddos: Filter, protocol: int) -> None:
    ddos.expect(p.ethernet(p.IPV6, p.ipv6(protocol, bytes(32))), "PASSED")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(protocol, b"")), "PASSED")


# Malformed packets

WHOLE = {
    "tcp4": TCP4,
    "udp4": UDP4,
    "icmp4": p.ethernet(p.IPV4, p.ipv4(p.ICMP, p.icmp(8))),
    "options": p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), options=b"\x01" * 12)),
    "tcp6": TCP6,
    "udp6": UDP6,
    "icmp6": p.ethernet(p.IPV6, p.ipv6(p.ICMPV6, p.icmp(128))),
    "vlans": p.ethernet(p.IPV6, TCP6[14:], [(p.SERVICE_VLAN, 1), (p.VLAN, 2), (p.VLAN, 3)]),
    "chain": p.ethernet(
        p.IPV6,
        p.ipv6(
            p.HOP_BY_HOP,
            p.extension(
                p.AUTHENTICATION,
                p.authentication(p.FRAGMENT, p.fragment(p.UDP, p.udp(1, 2), more=True)),
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_cut_off_anywhere_it_is_malformed(ddos: Filter, name: str) -> None:
    """The kernel takes no frame without an Ethernet header, so the cuts begin behind it."""
    packet = WHOLE[name]
    ddos.expect(packet, "PASSED")
    cut = [packet[:length] for length in range(14, len(packet))]
    assert ddos.judge_all(cut) == (DROP, "MALFORMED")


def lengths_fixed(packet: bytes) -> bytes:
    """The packet with the IP header saying that it ends where it does."""
    if packet[12:14] == p.IPV4.to_bytes(2):
        return packet[:16] + (len(packet) - 14).to_bytes(2) + packet[18:]
    return packet[:18] + (len(packet) - 54).to_bytes(2) + packet[20:]


@pytest.mark.parametrize(
    ("name", "header"),
    [("tcp4", 34), ("udp4", 34), ("icmp4", 34), ("tcp6", 54), ("udp6", 54), ("chain", 54)],
)
def test_an_end_inside_a_header_is_malformed_even_if_declared(
    ddos: Filter, name: str, header: int
) -> None:
    packet = WHOLE[name]
    end = {"icmp4": 38, "udp4": 42, "udp6": 62}.get(name, len(packet))
    ended = [lengths_fixed(packet[:length]) for length in range(header, end)]
    assert ddos.judge_all(ended) == (DROP, "MALFORMED")
    ddos.expect(lengths_fixed(packet[:end]), "PASSED")


def test_padding_behind_the_declared_length_is_no_header(ddos: Filter) -> None:
    ddos.package.set("ports", "protocol=17 port=53", "PORT_BLOCKED")
    padded = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 80))).ljust(60, b"\0")
    ddos.expect(padded, "PASSED")
    empty = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 53), total=20)).ljust(60, b"\0")
    ddos.expect(empty, "MALFORMED")
    empty6 = p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(1, 53), length=0)).ljust(70, b"\0")
    ddos.expect(empty6, "MALFORMED")


@pytest.mark.parametrize(
    "packet",
    [
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), version=6)),
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), version=0)),
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), words=4)),
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), words=15)),
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), total=19)),
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), total=0)),
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), total=29)),
        p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(1, 2), version=4)),
        p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(1, 2), length=9)),
        p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(1, 2, words=4))),
        p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(1, 2, words=15)[:59])),
        p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2, length=7))),
        p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(1, 2, length=0))),
    ],
    ids=[
        *("version 6", "version 0", "header too short", "header too long", "total in header"),
        *("total 0", "total too long", "ipv6 version 4", "ipv6 too long", "tcp too short"),
        *("tcp too long", "udp too short", "udp length 0"),
    ],
)
def test_headers_that_contradict_themselves_are_malformed(ddos: Filter, packet: bytes) -> None:
    ddos.expect(packet, "MALFORMED")


def test_malformed_transport_headers_of_allowed_sources_pass(ddos: Filter) -> None:
    ddos.package.set("allow_v4", "10.1.0.0/16", "1")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(1, 2, words=4))), "PASSED_SOURCE")


def test_without_drop_malformed_they_pass_and_are_counted(own: Filters) -> None:
    ddos = own.load(drop_malformed="false")
    assert ddos.judge(UDP4[:30]) == (PASS, "MALFORMED")
    ddos.package.set("block_v4", "10.1.0.0/16", "1")
    ddos.expect(UDP4, "BLOCKED_SOURCE_V4")


def test_packets_of_several_pages_are_judged_and_counted_whole(ddos: Filter) -> None:
    big = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 53, bytes(8900))))
    ddos.expect(big, "PASSED")
    ddos.package.set("ports", "protocol=17 port=53", "PORT_BLOCKED")
    ddos.expect(big, "BLOCKED_PORT")
