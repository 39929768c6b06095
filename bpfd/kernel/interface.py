# SPDX-License-Identifier: Apache-2.0
"""Network interfaces of the calling thread's network namespace."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from dataclasses import dataclass

from bpfd.kernel.libbpf import XdpQueryOpts, library


def names() -> dict[str, int]:
    """Interface indexes by name."""
    return {name: index for index, name in socket.if_nameindex()}


def index_of(name: str) -> int:
    """The ifindex of a name. Raises OSError ENODEV."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name) from None


def name_of(ifindex: int) -> str:
    """The name of an ifindex. Raises OSError ENODEV."""
    try:
        return socket.if_indextoname(ifindex)
    except (OSError, OverflowError):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), str(ifindex)) from None


@dataclass(frozen=True)
class XdpState:
    """Kernel ids of the XDP programs on an interface, by mode; 0: none."""

    native: int
    generic: int
    offload: int

    @property
    def program_ids(self) -> tuple[int, ...]:
        """The programs that are there."""
        return tuple(each for each in (self.native, self.generic, self.offload) if each)


def xdp_state(ifindex: int) -> XdpState:
    """What XDP programs an interface has, linked or not (netlink). Raises OSError."""
    query = XdpQueryOpts(sz=ctypes.sizeof(XdpQueryOpts))
    result = library().bpf_xdp_query(ifindex, 0, ctypes.byref(query))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return XdpState(query.drv_prog_id, query.skb_prog_id, query.hw_prog_id)
