# SPDX-License-Identifier: Apache-2.0
"""Headers of packets, and what is different between two of them."""

from __future__ import annotations

import random
import struct

import pytest
from bpfctl.packets import difference
from bpfctl.packets.difference import FieldChange
from bpfctl.packets.layers import layers

from tests.kernel import packets as p

UDP = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1000, 53, b"question")))
TCP6 = p.ethernet(p.IPV6, p.ipv6(p.TCP, p.tcp(1000, 80, words=7)), tags=[(p.VLAN, 5)])


def names(frame: bytes) -> list[str]:
    return [layer.name for layer in layers(frame)]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (UDP, ["Ethernet", "IPv4", "UDP", "payload"]),
        (TCP6, ["Ethernet", "VLAN", "IPv6", "TCP"]),
        (p.ethernet(p.IPV6, p.ipv6(p.ICMPV6, p.icmp(128))), ["Ethernet", "IPv6", "ICMPv6"]),
        (
            p.ethernet(p.IPV4, p.ipv4(4, UDP[14:])),
            ["Ethernet", "IPv4", "IPv4", "UDP", "payload"],
        ),
        (
            p.ethernet(
                p.IPV4,
                p.ipv4(p.UDP, p.udp(9, 4789, struct.pack("!B3xI", 8, 7 << 8) + UDP)),
            ),
            ["Ethernet", "IPv4", "UDP", "VXLAN", "Ethernet", "IPv4", "UDP", "payload"],
        ),
        (
            p.ethernet(p.IPV4, p.ipv4(p.UDP, b"x" * 8, offset=64)),
            ["Ethernet", "IPv4", "payload"],
        ),
        (p.ethernet(p.IPV4, p.ipv4(p.TCP, b"short")), ["Ethernet", "IPv4", "payload"]),
        (p.ethernet(p.IPV4, p.ipv4(p.TCP, words=15)), ["Ethernet", "payload"]),
        (p.ethernet(0x1234, b"x"), ["Ethernet", "payload"]),
        (b"short", ["payload"]),
        (b"", []),
    ],
)
def test_headers(frame: bytes, expected: list[str]) -> None:
    assert names(frame) == expected


def test_fields_of_headers() -> None:
    ethernet, vlan, ip, tcp = layers(TCP6)
    assert ethernet.fields["destination"] == "02:00:00:00:00:02"
    assert vlan.fields["id"] == "5"
    assert ip.fields["source"] == p.SOURCE6
    assert ip.fields["next header"] == "6 (TCP)"
    assert tcp.fields["destination port"] == "80"
    assert tcp.fields["flags"] == "S"
    assert tcp.fields["options"] == "00" * 8
    (arp,) = [each for each in layers(p.ethernet(p.ARP, ARP)) if each.name == "ARP"]
    assert arp.fields["operation"] == "1 (request)"
    assert arp.fields["target address"] == "10.0.0.2"


ARP = bytes.fromhex("0001080006040001 020000000001 0a000001 000000000000 0a000002")


def test_changed_fields() -> None:
    after = UDP[:22] + b"\x3f" + UDP[23:36] + b"\x00\x50" + UDP[38:]
    assert difference.fields(UDP, after) == [
        FieldChange("IPv4", "ttl", "64", "63"),
        FieldChange("UDP", "destination port", "53", "80"),
    ]
    assert difference.fields(UDP, UDP) == []


def test_a_header_that_was_put_in_front() -> None:
    outer = p.ethernet(p.IPV4, p.ipv4(4, UDP[14:], source="192.0.2.1"))
    changes = difference.fields(UDP, outer)
    assert {change.layer for change in changes} == {"IPv4"}
    assert all(change.before is None for change in changes)
    assert FieldChange("IPv4", "source", None, "192.0.2.1") in changes
    gone = difference.fields(outer, UDP)
    assert all(change.after is None for change in gone)


def test_lines_of_a_dump() -> None:
    after = bytearray(UDP)
    after[22] = 63
    minus, plus = difference.dump_lines(UDP, bytes(after))
    assert (minus.mark, minus.offset, minus.changed) == ("-", 16, frozenset({6}))
    assert (plus.mark, plus.data) == ("+", bytes(after[16:32]))
    assert str(plus).startswith("+ 0010  00 24 00 01 00 00 3f 11")


def test_bytes_that_came_and_went() -> None:
    lines = difference.dump_lines(UDP, UDP[:20] + b"NEWBYTES" + UDP[20:])
    assert {line.mark for line in lines} == {"+"}
    assert sum(len(line.changed) for line in lines) == 8
    lines = difference.dump_lines(UDP, UDP[:20])
    assert {line.mark for line in lines} == {"-"}
    assert sum(len(line.changed) for line in lines) == len(UDP) - 20


def test_any_bytes_are_compared() -> None:
    """What is not marked is the same on both sides, in its order."""
    chance = random.Random(7)
    for _ in range(300):
        before = chance.randbytes(chance.randrange(80))
        after = bytearray(before)
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(after) + 1)
            after[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(5))
        difference.fields(before, bytes(after))
        lines = difference.dump_lines(before, bytes(after))
        kept = []
        for mark, data in (("-", before), ("+", bytes(after))):
            marked = {
                line.offset + place
                for line in lines
                if line.mark == mark
                for place in line.changed
            }
            kept.append(bytes(byte for at, byte in enumerate(data) if at not in marked))
        assert kept[0] == kept[1]


def test_large_packets_take_no_time() -> None:
    before = bytes(60_000)
    lines = difference.dump_lines(before, b"\1" + before[:-5] + b"\1")
    assert lines
