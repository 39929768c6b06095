# SPDX-License-Identifier: Apache-2.0
"""Routes of the calling thread's network namespace, as far as BPF is in them.

A route's light-weight tunnel runs programs on its packets (kernel 4.10, 3a0af8fd61f9);
formats: linux/rtnetlink.h, linux/lwtunnel.h, linux/bpf.h (enum lwt_bpf).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass, field

from bpfd.kernel import rtnetlink

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

IN, OUT, XMIT = 1, 2, 3
"""LWT_BPF_*: received for this host or to forward, sent, about to leave."""

_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_MESSAGE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, destination and source bits, tos, table, protocol, scope, type,
flags."""
_DESTINATION, _INTERFACE, _PRIORITY, _MULTIPATH, _CACHE = 1, 4, 6, 9, 12
_TABLE, _ENCAP_TYPE, _ENCAP, _NEXT_HOP_ID = 15, 21, 22, 30
_BPF_TUNNEL = 6  # LWTUNNEL_ENCAP_BPF
_LOCAL_TUNNEL, _LOCAL_BPF = 7, 8  # LWTUNNEL_ENCAP_SEG6_LOCAL, SEG6_LOCAL_BPF (4.18)
_HEADROOM = 4
_PROGRAM_FD, _PROGRAM_NAME = 1, 2
_MAIN, _UNICAST, _STATIC = 254, 1, 4
_LINK_SCOPE = 253
_ON_LINK = 4  # RTNH_F_ONLINK, the only flag that people set

_HAS_TUNNEL = struct.pack("=HH", 6, _ENCAP_TYPE)
"""The head of the attribute that only routes with a tunnel have."""


@dataclass(frozen=True)
class Route:
    """A unicast route of the main table."""

    header: bytes
    attributes: tuple[tuple[int, bytes], ...] = field(default=())
    """As the kernel tells them, without a tunnel."""
    tunnel: int = 0
    """enum lwtunnel_encap_types; 0: none."""
    programs: tuple[str, ...] = ()
    """Names that were given to the tunnel's programs."""
    spread: bool = False
    """Over several next hops, or by a next hop object."""

    def packed(self) -> bytes:
        """The route without its tunnel, as a request takes it."""
        return self.header + b"".join(rtnetlink.attribute(*each) for each in self.attributes)

    @classmethod
    def unpacked(cls, data: bytes) -> Route:
        """The way back from `packed`."""
        return cls(data[: _MESSAGE.size], tuple(rtnetlink.attributes(data[_MESSAGE.size :])))


def plain(prefix: Prefix, ifindex: int) -> Route:
    """A new route to a prefix that is directly behind an interface."""
    family, scope = (
        (socket.AF_INET, _LINK_SCOPE) if prefix.version == 4 else (socket.AF_INET6, 0)
    )
    header = _MESSAGE.pack(
        *(family, prefix.prefixlen, 0, 0, _MAIN, _STATIC, scope, _UNICAST, 0)
    )
    destination = (_DESTINATION, prefix.network_address.packed)
    return Route(header, (destination, (_INTERFACE, struct.pack("=I", ifindex))))


def find(prefix: Prefix, ifindex: int) -> Route | None:
    """The first route to exactly this prefix through this interface."""
    family = socket.AF_INET if prefix.version == 4 else socket.AF_INET6
    for data in rtnetlink.dump(_GET_ROUTE, _MESSAGE.pack(family, *[0] * 8)):
        found = dict(rtnetlink.attributes(data[_MESSAGE.size :]))
        _, bits, _, _, table, _, _, kind, _ = _MESSAGE.unpack_from(data)
        number = struct.unpack("=I", found[_TABLE])[0] if _TABLE in found else table
        if (number, kind, bits) != (_MAIN, _UNICAST, prefix.prefixlen):
            continue
        length = len(prefix.network_address.packed)
        if found.get(_DESTINATION, bytes(length)) != prefix.network_address.packed:
            continue
        if _goes_through(found, ifindex):
            return _route(data, found)
    return None


@dataclass(frozen=True)
class Tunnel:
    """A program in a route."""

    prefix: str
    ifindex: int
    """0: the route has several next hops, or a next hop object."""
    hook: int
    """IN, OUT or XMIT; 0: a local action of segment routing."""
    name: str
    program_id: int
    """0: the kernel tells the name alone."""


def tunnels() -> list[Tunnel]:
    """Programs in the routes of every table, of IPv4 and IPv6."""
    return [
        found
        for family in (socket.AF_INET, socket.AF_INET6)
        for data in rtnetlink.dump(_GET_ROUTE, _MESSAGE.pack(family, *[0] * 8))
        if _HAS_TUNNEL in data
        for found in tunnels_of(data)
    ]


def tunnels_of(data: bytes) -> list[Tunnel]:
    """The programs in the route that a message of the dump tells of. Pure."""
    found = dict(rtnetlink.attributes(data[_MESSAGE.size :]))
    family, bits, *_ = _MESSAGE.unpack_from(data)
    address = found.get(_DESTINATION, bytes(4 if family == socket.AF_INET else 16))
    prefix = f"{ipaddress.ip_address(address)}/{bits}"
    index = found.get(_INTERFACE, b"")
    ifindex = struct.unpack("=i", index)[0] if len(index) == 4 else 0
    kind = struct.unpack("=H", found.get(_ENCAP_TYPE, b"\0\0")[:2])[0]
    inside = dict(rtnetlink.attributes(found.get(_ENCAP, b"")))
    wanted = {_BPF_TUNNEL: (IN, OUT, XMIT), _LOCAL_TUNNEL: (_LOCAL_BPF,)}.get(kind, ())
    programs = []
    for hook in wanted:
        if hook not in inside:
            continue
        told = dict(rtnetlink.attributes(inside[hook]))
        name = told.get(_PROGRAM_NAME, b"").rstrip(b"\0").decode(errors="replace")
        number = told.get(_PROGRAM_FD, b"") if kind == _LOCAL_TUNNEL else b""
        program_id = struct.unpack("=I", number)[0] if len(number) == 4 else 0
        way = hook if kind == _BPF_TUNNEL else 0
        programs.append(Tunnel(prefix, ifindex, way, name, program_id))
    return programs


def set_program(
    route: Route, hook: int, program_fd: int, name: str, headroom: int, *, replace: bool
) -> None:
    """Makes the route, or puts it in the place of itself, with a program in its tunnel.

    `name` is what the route will be known by. EEXIST: there is such a route; EOPNOTSUPP:
    no tunnels by BPF.
    """
    program = rtnetlink.attribute(_PROGRAM_FD, struct.pack("=I", program_fd))
    program += rtnetlink.attribute(_PROGRAM_NAME, name.encode() + b"\0")
    tunnel = rtnetlink.attribute(hook | rtnetlink.NESTED, program)
    if headroom:
        tunnel += rtnetlink.attribute(_HEADROOM, struct.pack("=I", headroom))
    payload = route.packed()
    payload += rtnetlink.attribute(_ENCAP_TYPE, struct.pack("=H", _BPF_TUNNEL))
    payload += rtnetlink.attribute(_ENCAP | rtnetlink.NESTED, tunnel)
    flags = rtnetlink.REPLACE if replace else rtnetlink.EXCLUSIVE
    rtnetlink.request(_NEW_ROUTE, rtnetlink.CREATE | flags, payload)


def clear(route: Route) -> None:
    """The route in the place of itself, without a tunnel."""
    rtnetlink.request(_NEW_ROUTE, rtnetlink.CREATE | rtnetlink.REPLACE, route.packed())


def remove(route: Route) -> None:
    """Removes the route; one that is gone is no error."""
    try:
        rtnetlink.request(_DELETE_ROUTE, 0, route.packed())
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.ENOENT, errno.ENODEV):
            raise


def _goes_through(found: dict[int, bytes], ifindex: int) -> bool:
    if _MULTIPATH in found:  # struct rtnexthop: length, flags, hops, ifindex
        hops = found[_MULTIPATH]
        at = 0
        while at + 8 <= len(hops):
            length, _, _, index = struct.unpack_from("=HBBi", hops, at)
            if index == ifindex:
                return True
            at += max(length + 3 & ~3, 8)
        return False
    return found.get(_INTERFACE) == struct.pack("=I", ifindex)


def _route(data: bytes, found: dict[int, bytes]) -> Route:
    *front, flags = _MESSAGE.unpack_from(data)
    every = list(rtnetlink.attributes(data[_MESSAGE.size :]))
    tunnel = dict(rtnetlink.attributes(found.get(_ENCAP, b"")))
    programs = [dict(rtnetlink.attributes(tunnel.get(hook, b""))) for hook in (IN, OUT, XMIT)]
    kind = found.get(_ENCAP_TYPE, b"\0\0")
    return Route(
        _MESSAGE.pack(*front, flags & _ON_LINK),
        tuple(each for each in every if each[0] not in (_CACHE, _ENCAP_TYPE, _ENCAP)),
        struct.unpack("=H", kind[:2])[0],
        tuple(
            each[_PROGRAM_NAME].rstrip(b"\0").decode(errors="replace")
            for each in programs
            if _PROGRAM_NAME in each
        ),
        _MULTIPATH in found or _NEXT_HOP_ID in found,
    )
