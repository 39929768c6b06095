# SPDX-License-Identifier: Apache-2.0
"""Packets for tests, header by header from the inside out.

Every function returns its header with `payload` behind it; lengths are filled in unless
given. Checksums are 0: XDP programs see packets before anything checks them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
VLAN, SERVICE_VLAN, OLD_SERVICE_VLAN = 0x8100, 0x88A8, 0x9100

ICMP, TCP, UDP, DCCP, ESP, ICMPV6, NO_NEXT, SCTP = 1, 6, 17, 33, 50, 58, 59, 132
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 0, 43, 44, 51, 60
MOBILITY, HIP, SHIM6 = 135, 139, 140

SOURCE, DESTINATION = "10.1.2.3", "10.9.9.9"
SOURCE6, DESTINATION6 = "2001:db8:1::3", "2001:db8:9::9"


def ethernet(kind: int, payload: bytes, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    """A frame; `tags` are (EtherType, VLAN id) from the outermost on."""
    header = bytes.fromhex("020000000002 020000000001")
    for tag_kind, vlan in tags:
        header += struct.pack("!HH", tag_kind, vlan)
    return header + struct.pack("!H", kind) + payload


def ipv4(
    protocol: int,
    payload: bytes = b"",
    source: str = SOURCE,
    destination: str = DESTINATION,
    *,
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
    version: int = 4,
    words: int | None = None,
    total: int | None = None,
) -> bytes:
    """`offset` of a fragment is in bytes; `words` is the header's length in 4 bytes."""
    words = 5 + len(options) // 4 if words is None else words
    total = 20 + len(options) + len(payload) if total is None else total
    return (
        struct.pack(
            "!BBHHHBBH4s4s",
            version << 4 | words,
            0,
            total,
            1,
            offset // 8 | (0x2000 if more else 0),
            64,
            protocol,
            0,
            socket.inet_pton(socket.AF_INET, source),
            socket.inet_pton(socket.AF_INET, destination),
        )
        + options
        + payload
    )


def ipv6(
    protocol: int,
    payload: bytes = b"",
    source: str = SOURCE6,
    destination: str = DESTINATION6,
    *,
    version: int = 6,
    length: int | None = None,
) -> bytes:
    return (
        struct.pack(
            "!IHBB16s16s",
            version << 28,
            len(payload) if length is None else length,
            protocol,
            64,
            socket.inet_pton(socket.AF_INET6, source),
            socket.inet_pton(socket.AF_INET6, destination),
        )
        + payload
    )


def extension(following: int, payload: bytes, more: int = 0) -> bytes:
    """An IPv6 extension header of 8 bytes and `more` times 8."""
    return struct.pack("!BB6x", following, more) + bytes(8 * more) + payload


def authentication(following: int, payload: bytes, check_bytes: int = 12) -> bytes:
    """An authentication header (RFC 4302): its length counts 4 bytes, without the first 8."""
    words = (12 + check_bytes) // 4 - 2
    return struct.pack("!BB10x", following, words) + bytes(check_bytes) + payload


def fragment(following: int, payload: bytes, offset: int = 0, more: bool = False) -> bytes:
    """An IPv6 fragment header; `offset` in bytes."""
    return struct.pack("!BBHI", following, 0, offset | more, 7) + payload


def tcp(source: int, destination: int, payload: bytes = b"", words: int = 5) -> bytes:
    """`words` is the header's length in 4 bytes; options are 0."""
    header = struct.pack("!HHIIBBHHH", source, destination, 1, 0, words << 4, 2, 1024, 0, 0)
    return header + bytes(max(0, words - 5) * 4) + payload


def udp(
    source: int, destination: int, payload: bytes = b"", length: int | None = None
) -> bytes:
    length = 8 + len(payload) if length is None else length
    return struct.pack("!HHHH", source, destination, length, 0) + payload


def icmp(kind: int, payload: bytes = b"") -> bytes:
    """ICMP and ICMPv6: type, code, checksum, rest."""
    return struct.pack("!BBH4x", kind, 0, 0) + payload
