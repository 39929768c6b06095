# SPDX-License-Identifier: Apache-2.0
"""Package ddos: sources, ports and versions, and what is counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.kernel import packets as p
from tests.kernel.ddos_filter import LISTS, TCP4, TCP6, UDP4, UDP6, Filter, Filters

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading XDP programs needs root"),
]


NAMES = ["udp4", "tcp4", "udp6", "tcp6"]


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


# Sources


@pytest.mark.parametrize(
    "packet", [UDP4, TCP4, UDP6, TCP6], ids=["udp4", "tcp4", "udp6", "tcp6"]
)
def test_with_empty_lists_everything_passes(ddos: Filter, packet: bytes) -> None:
    ddos.expect(packet, "PASSED")


@pytest.mark.parametrize("kind", [p.ARP, 0x88CC, 0x0000, 0xFFFF])
def test_what_is_not_ip_passes(ddos: Filter, kind: int) -> None:
    ddos.expect(p.ethernet(kind, bytes(46)), "PASSED_OTHER")


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
        ("128.0.0.0/1", "192.0.2.1", "127.255.255.255"),
        ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
    ],
)
def test_blocks_an_ipv4_prefix(ddos: Filter, prefix: str, inside: str, outside: str) -> None:
    ddos.package.set("block_v4", prefix, "7")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), inside)), "BLOCKED_SOURCE_V4")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1, 2), outside)), "PASSED")


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("2001:db8:1::/48", "2001:db8:1:ffff::", "2001:db8:2::"),
        ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
        ("2001:db8::8000/113", "2001:db8::8001", "2001:db8::7fff"),
    ],
)
def test_blocks_an_ipv6_prefix(ddos: Filter, prefix: str, inside: str, outside: str) -> None:
    ddos.package.set("block_v6", prefix, "7")
    ddos.expect(p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(1, 2), inside)), "BLOCKED_SOURCE_V6")
    ddos.expect(p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(1, 2), outside)), "PASSED")


def test_blocks_all_sources_with_the_empty_prefix(ddos: Filter) -> None:
    ddos.package.set("block_v4", "0.0.0.0/0", "1")
    ddos.package.set("block_v6", "::/0", "1")
    ddos.expect(UDP4, "BLOCKED_SOURCE_V4")
    ddos.expect(UDP6, "BLOCKED_SOURCE_V6")


def test_looks_at_the_source_alone(ddos: Filter) -> None:
    ddos.package.set("block_v4", f"{p.DESTINATION}/32", "1")
    ddos.package.set("block_v6", f"{p.DESTINATION6}/128", "1")
    ddos.expect(UDP4, "PASSED")
    ddos.expect(UDP6, "PASSED")


def test_a_prefix_that_is_removed_blocks_no_more(ddos: Filter) -> None:
    ddos.package.set("block_v4", "10.1.0.0/16", "1")
    ddos.expect(UDP4, "BLOCKED_SOURCE_V4")
    ddos.package.delete("block_v4", "10.1.0.0/16")
    ddos.expect(UDP4, "PASSED")


@pytest.mark.parametrize("allowed", ["10.1.2.3/32", "10.1.2.0/24", "10.0.0.0/8", "0.0.0.0/0"])
def test_allowed_ipv4_sources_pass_whatever_blocks_them(ddos: Filter, allowed: str) -> None:
    ddos.package.set("block_v4", "10.1.2.0/24", "1")
    ddos.package.set("ports", "protocol=17 port=53", "PORT_BLOCKED")
    ddos.package.set("allow_v4", allowed, "1")
    ddos.expect(UDP4, "PASSED_SOURCE")


@pytest.mark.parametrize("allowed", ["2001:db8:1::3/128", "2001:db8::/32", "::/0"])
def test_allowed_ipv6_sources_pass_whatever_blocks_them(ddos: Filter, allowed: str) -> None:
    ddos.package.set("block_v6", "2001:db8:1::/48", "1")
    ddos.package.set("ports", "protocol=17 port=53", "PORT_BLOCKED")
    ddos.package.set("allow_v6", allowed, "1")
    ddos.expect(UDP6, "PASSED_SOURCE")


# Ports


@pytest.mark.parametrize(
    ("protocol", "payload"),
    [
        (p.TCP, p.tcp(1, 80)),
        (p.TCP, p.tcp(1, 80, words=15)),
        (p.UDP, p.udp(1, 80)),
        (p.SCTP, p.udp(1, 80)),
        (p.DCCP, p.udp(1, 80)),
    ],
    ids=["tcp", "tcp with options", "udp", "sctp", "dccp"],
)
def test_ports_are_told_apart_by_protocol(ddos: Filter, protocol: int, payload: bytes) -> None:
    for network, header in ((p.IPV4, p.ipv4), (p.IPV6, p.ipv6)):
        packet = p.ethernet(network, header(protocol, payload))
        ddos.package.clear("ports")
        for other in {p.TCP, p.UDP, p.SCTP, p.DCCP} - {protocol}:
            ddos.package.set("ports", f"protocol={other} port=80", "PORT_BLOCKED")
        ddos.expect(packet, "PASSED")
        ddos.package.set("ports", f"protocol={protocol} port=80", "PORT_BLOCKED")
        ddos.expect(packet, "BLOCKED_PORT")


@pytest.mark.parametrize(
    ("network", "header", "protocol", "kind"),
    [(p.IPV4, p.ipv4, p.ICMP, 8), (p.IPV6, p.ipv6, p.ICMPV6, 128)],
    ids=["icmp", "icmpv6"],
)
def test_the_type_is_the_port_of_icmp(
    ddos: Filter, network: int, header: Callable[..., bytes], protocol: int, kind: int
) -> None:
    ddos.package.set("ports", f"protocol={protocol} port={kind}", "PORT_BLOCKED")
    ddos.expect(p.ethernet(network, header(protocol, p.icmp(kind))), "BLOCKED_PORT")
    ddos.expect(p.ethernet(network, header(protocol, p.icmp(kind + 1))), "PASSED")


def test_only_allowed_ports_drops_the_others_of_tcp_and_udp(own: Filters) -> None:
    ddos = own.load(only_allowed_ports="true")
    ddos.package.set("ports", "protocol=6 port=80", "PORT_ALLOWED")
    ddos.package.set("ports", "protocol=6 port=81", "PORT_BLOCKED")
    ddos.package.set("allow_v6", "2001:db8::/32", "1")
    ddos.expect(TCP4, "PASSED")
    ddos.expect(UDP4, "BLOCKED_UNLISTED_PORT")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(80, 82))), "BLOCKED_UNLISTED_PORT")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(80, 81))), "BLOCKED_PORT")
    ddos.expect(p.ethernet(p.IPV4, p.ipv4(p.ICMP, p.icmp(8))), "PASSED")
    ddos.expect(UDP6, "PASSED_SOURCE")


# Versions


@pytest.mark.parametrize("port", [17, 19, 389, 1900, 11211])
def test_the_second_version_drops_amplified_answers(
    v2: Filter, ddos: Filter, port: int
) -> None:
    for network, header in ((p.IPV4, p.ipv4), (p.IPV6, p.ipv6)):
        answer = p.ethernet(network, header(p.UDP, p.udp(port, 4000)))
        question = p.ethernet(network, header(p.UDP, p.udp(4000, port)))
        over_tcp = p.ethernet(network, header(p.TCP, p.tcp(port, 4000)))
        ddos.expect(answer, "PASSED")
        v2.expect(answer, "BLOCKED_REFLECTION")
        v2.expect(question, "PASSED")
        v2.expect(over_tcp, "PASSED")


@pytest.fixture(scope="module")
def v2(filters: Filters, plain: Filter) -> Filter:
    """The second version over the maps of the first."""
    return filters.load("v2", plain)


def test_the_second_version_works_on_the_maps_of_the_first(v2: Filter, ddos: Filter) -> None:
    ddos.package.set("block_v4", "10.1.0.0/16", "1")
    before = [ddos.package.get("versions", version)["packets"] for version in "01"]
    for one in (ddos, v2, v2):
        one.expect(UDP4, "BLOCKED_SOURCE_V4")
    after = [v2.package.get("versions", version)["packets"] for version in "01"]
    assert [after[0] - before[0], after[1] - before[1]] == [1, 2]
