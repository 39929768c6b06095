# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames of what captures hold: BPF_PROG_TEST_RUN takes nothing else."""

from __future__ import annotations

from bpfctl.errors import InvalidArgument

# Link types of captures: https://www.tcpdump.org/linktypes.html
NULL, ETHERNET, RAW_BSD, RAW_OPENBSD, RAW = 0, 1, 12, 14, 101
LINUX_SLL, IPV4, IPV6, LINUX_SLL2 = 113, 228, 229, 276

_RAW = (RAW_BSD, RAW_OPENBSD, RAW, IPV4, IPV6)
_NO_ADDRESS = bytes(6)


def frame(data: bytes, link_type: int) -> bytes:
    """`data` of a capture of this link type as an Ethernet frame.

    What has no Ethernet header gets one: addresses are 0 where there are none. Raises
    InvalidArgument for link types that hold no such packets.
    """
    if link_type == ETHERNET:
        return data
    if link_type in _RAW:
        return of_ip(data)
    if link_type == LINUX_SLL and len(data) >= 16:
        # Packet type, ARPHRD, address length, address (8), protocol.
        return _NO_ADDRESS + data[6:12] + data[14:16] + data[16:]
    if link_type == LINUX_SLL2 and len(data) >= 20:
        # Protocol, reserved, interface, ARPHRD, packet type, address length, address (8).
        return _NO_ADDRESS + data[12:18] + data[0:2] + data[20:]
    if link_type == NULL and len(data) >= 4:
        return of_ip(data[4:])
    known = "Ethernet, raw IP, Linux cooked (tcpdump -i any) and BSD loopback"
    raise InvalidArgument("capture", f"link type {link_type} is none of {known}")


def of_ip(data: bytes) -> bytes:
    """An IP packet behind an Ethernet header without addresses."""
    kind = b"\x86\xdd" if data[:1] and data[0] >> 4 == 6 else b"\x08\x00"
    return _NO_ADDRESS * 2 + kind + data
