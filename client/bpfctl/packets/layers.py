# SPDX-License-Identifier: Apache-2.0
"""The headers of a frame with their fields as texts: enough to say what a program changed.

Ethernet, VLAN tags, ARP, IPv4, IPv6, TCP, UDP, ICMP, ICMPv6, IP in IP and VXLAN; what is
behind is the payload. A header that is cut short belongs to the payload.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

_VLANS = (0x8100, 0x88A8, 0x9100)
_VXLAN_PORT = 4789
_KINDS = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", **dict.fromkeys(_VLANS, "VLAN")}
_PROTOCOLS = {1: "ICMP", 4: "IPIP", 6: "TCP", 17: "UDP", 41: "IPv6", 47: "GRE", 58: "ICMPv6"}
_TCP_FLAGS = "FSRPAUEC"


@dataclass(frozen=True)
class Layer:
    """One header; `fields` in their order in the packet."""

    name: str
    fields: dict[str, str]


def layers(frame: bytes) -> list[Layer]:
    """The headers of an Ethernet frame from the outermost on."""
    found: list[Layer] = []
    rest, name = frame, _ETHERNET
    while (read := _READERS.get(name)) is not None:
        result = read(rest)
        if result is None:
            break
        fields, size, behind = result
        found.append(Layer(name, fields))
        rest, name = rest[size:], behind
    if rest:
        found.append(Layer("payload", {"bytes": str(len(rest)), "data": rest.hex()}))
    return found


_Read = tuple[dict[str, str], int, str]
"""Fields, bytes of the header, and what comes behind it."""

_ETHERNET = "Ethernet"


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _named(number: int, names: dict[int, str], width: int = 0) -> str:
    text = f"{number:#0{width}x}" if width else str(number)
    return f"{text} ({names[number]})" if number in names else text


def _mac(data: bytes) -> str:
    return data.hex(":")


def _ethernet(data: bytes) -> _Read | None:
    if len(data) < 14:
        return None
    kind = _number(data, 12, 2)
    fields = {
        "destination": _mac(data[0:6]),
        "source": _mac(data[6:12]),
        "type": _named(kind, _KINDS, 6),
    }
    return fields, 14, _KINDS.get(kind, "")


def _vlan(data: bytes) -> _Read | None:
    if len(data) < 4:
        return None
    tag, kind = _number(data, 0, 2), _number(data, 2, 2)
    fields = {
        "priority": str(tag >> 13),
        "drop eligible": str(tag >> 12 & 1),
        "id": str(tag & 0xFFF),
        "type": _named(kind, _KINDS, 6),
    }
    return fields, 4, _KINDS.get(kind, "")


def _arp(data: bytes) -> _Read | None:
    if len(data) < 28 or data[4:6] != b"\x06\x04":
        return None
    fields = {
        "operation": _named(_number(data, 6, 2), {1: "request", 2: "reply"}),
        "sender": _mac(data[8:14]),
        "sender address": socket.inet_ntop(socket.AF_INET, data[14:18]),
        "target": _mac(data[18:24]),
        "target address": socket.inet_ntop(socket.AF_INET, data[24:28]),
    }
    return fields, 28, ""


def _ipv4(data: bytes) -> _Read | None:
    size = (data[0] & 0xF) * 4 if data else 0
    if size < 20 or len(data) < size or data[0] >> 4 != 4:
        return None
    fragment = _number(data, 6, 2)
    fields = {
        "header bytes": str(size),
        "DSCP": str(data[1] >> 2),
        "ECN": str(data[1] & 3),
        "length": str(_number(data, 2, 2)),
        "id": str(_number(data, 4, 2)),
        "don't fragment": str(fragment >> 14 & 1),
        "more fragments": str(fragment >> 13 & 1),
        "offset": str((fragment & 0x1FFF) * 8),
        "ttl": str(data[8]),
        "protocol": _named(data[9], _PROTOCOLS),
        "checksum": f"{_number(data, 10, 2):#06x}",
        "source": socket.inet_ntop(socket.AF_INET, data[12:16]),
        "destination": socket.inet_ntop(socket.AF_INET, data[16:20]),
    }
    if size > 20:
        fields["options"] = data[20:size].hex()
    behind = "" if fragment & 0x1FFF else _behind(data[9])
    return fields, size, behind


def _ipv6(data: bytes) -> _Read | None:
    if len(data) < 40 or data[0] >> 4 != 6:
        return None
    fields = {
        "traffic class": str(_number(data, 0, 2) >> 4 & 0xFF),
        "flow label": f"{_number(data, 0, 4) & 0xFFFFF:#07x}",
        "length": str(_number(data, 4, 2)),
        "next header": _named(data[6], _PROTOCOLS),
        "hop limit": str(data[7]),
        "source": socket.inet_ntop(socket.AF_INET6, data[8:24]),
        "destination": socket.inet_ntop(socket.AF_INET6, data[24:40]),
    }
    return fields, 40, _behind(data[6])


def _behind(protocol: int) -> str:
    return "IPv4" if protocol == 4 else _PROTOCOLS.get(protocol, "")


def _tcp(data: bytes) -> _Read | None:
    size = (data[12] >> 4) * 4 if len(data) >= 20 else 0
    if size < 20 or len(data) < size:
        return None
    flags = "".join(name for bit, name in enumerate(_TCP_FLAGS) if data[13] >> bit & 1)
    fields = {
        "source port": str(_number(data, 0, 2)),
        "destination port": str(_number(data, 2, 2)),
        "sequence": str(_number(data, 4, 4)),
        "acknowledgment": str(_number(data, 8, 4)),
        "header bytes": str(size),
        "flags": flags or "none",
        "window": str(_number(data, 14, 2)),
        "checksum": f"{_number(data, 16, 2):#06x}",
        "urgent": str(_number(data, 18, 2)),
    }
    if size > 20:
        fields["options"] = data[20:size].hex()
    return fields, size, ""


def _udp(data: bytes) -> _Read | None:
    if len(data) < 8:
        return None
    source, destination = _number(data, 0, 2), _number(data, 2, 2)
    fields = {
        "source port": str(source),
        "destination port": str(destination),
        "length": str(_number(data, 4, 2)),
        "checksum": f"{_number(data, 6, 2):#06x}",
    }
    return fields, 8, "VXLAN" if destination == _VXLAN_PORT else ""


def _vxlan(data: bytes) -> _Read | None:
    """RFC 7348; the I flag says that there is an id."""
    if len(data) < 8 or not data[0] & 8:
        return None
    return {"flags": f"{data[0]:#04x}", "id": str(_number(data, 4, 3))}, 8, _ETHERNET


def _icmp(data: bytes) -> _Read | None:
    if len(data) < 8:
        return None
    fields = {
        "type": str(data[0]),
        "code": str(data[1]),
        "checksum": f"{_number(data, 2, 2):#06x}",
        "rest": data[4:8].hex(),
    }
    return fields, 8, ""


_READERS: dict[str, Callable[[bytes], _Read | None]] = {
    "Ethernet": _ethernet,
    "VLAN": _vlan,
    "ARP": _arp,
    "IPv4": _ipv4,
    "IPv6": _ipv6,
    "TCP": _tcp,
    "UDP": _udp,
    "ICMP": _icmp,
    "ICMPv6": _icmp,
    "VXLAN": _vxlan,
}
