# SPDX-License-Identifier: Apache-2.0
"""All interfaces of the calling thread's network namespace in one rtnetlink dump.

Formats: RTM_GETLINK of linux/rtnetlink.h, IFLA_* of linux/if_link.h.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from bpfd.kernel import rtnetlink
from bpfd.kernel.interface import XdpState

_RTM_GETLINK = 18
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFNAME, _LINKINFO, _EXT_MASK, _XDP = 3, 18, 29, 43
_INFO_KIND = 1
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_ATTACHED, _PROG_ID = 2, 4
_NATIVE_ID, _GENERIC_ID, _OFFLOAD_ID = 5, 6, 7
_NATIVE, _GENERIC, _OFFLOAD = 1, 2, 3
"""XDP_ATTACHED_DRV, _SKB, _HW; 4 (_MULTI): more than one of them."""


@dataclass(frozen=True)
class Device:
    """An interface."""

    ifindex: int
    name: str
    kind: str
    """As in `ip link add ... type KIND`; empty: of a driver."""
    xdp: XdpState


def devices() -> list[Device]:
    """Every interface, in the order of their indexes. Raises OSError."""
    mask = rtnetlink.attribute(_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))
    request = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + mask
    found = [device_of(message) for message in rtnetlink.dump(_RTM_GETLINK, request)]
    return sorted(found, key=lambda each: each.ifindex)


def device_of(message: bytes) -> Device:
    """The interface that a message of the dump tells of. Pure."""
    _, _, ifindex, _, _ = _IFINFOMSG.unpack_from(message)
    attributes = dict(rtnetlink.attributes(message[_IFINFOMSG.size :]))
    kind = dict(rtnetlink.attributes(attributes.get(_LINKINFO, b""))).get(_INFO_KIND, b"")
    return Device(
        ifindex,
        _text(attributes.get(_IFNAME, b"")),
        _text(kind),
        _xdp_state(dict(rtnetlink.attributes(attributes.get(_XDP, b"")))),
    )


def _xdp_state(attributes: dict[int, bytes]) -> XdpState:
    """Kernel 4.19 (a25717d2b604) tells the program of each mode; before, the only one."""
    attached = attributes.get(_ATTACHED, b"\0")[0]
    only = _number(attributes, _PROG_ID)
    native, generic, offload = (
        _number(attributes, attribute) or (only if attached == mode else 0)
        for attribute, mode in (
            (_NATIVE_ID, _NATIVE),
            (_GENERIC_ID, _GENERIC),
            (_OFFLOAD_ID, _OFFLOAD),
        )
    )
    return XdpState(native, generic, offload)


def _number(attributes: dict[int, bytes], kind: int) -> int:
    data = attributes.get(kind, b"")
    return int(struct.unpack("=I", data)[0]) if len(data) == 4 else 0


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
