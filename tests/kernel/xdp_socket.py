# SPDX-License-Identifier: Apache-2.0
"""An AF_XDP socket that receives (include/uapi/linux/if_xdp.h)."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct

AF_XDP, _SOL_XDP = 44, 283
_OFFSETS, _RX_RING, _UMEM_REG, _FILL_RING, _COMPLETION_RING = 1, 2, 4, 5, 6
_FILL_PAGES = 0x100000000
_COPY = 1 << 1
_FRAMES, _FRAME_BYTES = 8, 4096

_libc = ctypes.CDLL(None, use_errno=True)


class XdpSocket:
    """A socket of queue 0 of an interface of the thread's network namespace; close it."""

    def __init__(self, interface: str) -> None:
        self.socket = socket.socket(AF_XDP, socket.SOCK_RAW)
        self._memory = mmap.mmap(-1, _FRAMES * _FRAME_BYTES)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        whole = struct.pack("=QQIIII", start, len(self._memory), _FRAME_BYTES, 0, 0, 0)
        self.socket.setsockopt(_SOL_XDP, _UMEM_REG, whole)
        for ring in (_FILL_RING, _COMPLETION_RING, _RX_RING):
            self.socket.setsockopt(_SOL_XDP, ring, _FRAMES)
        words = struct.unpack("=16Q", self.socket.getsockopt(_SOL_XDP, _OFFSETS, 128))
        # (producer, consumer, descriptors, flags) of rx, tx, fill and completion.
        self._producer, _, self._first, _ = words[:4]
        self._ring = self._mapped(0, self._first + 16 * _FRAMES)
        fill = self._mapped(_FILL_PAGES, words[10] + 8 * _FRAMES)
        for index in range(_FRAMES):
            struct.pack_into("=Q", fill, words[10] + 8 * index, index * _FRAME_BYTES)
        struct.pack_into("=I", fill, words[8], _FRAMES)
        self._fill = fill
        number = socket.if_nametoindex(interface)
        address = struct.pack("=HHIII", AF_XDP, _COPY, number, 0, 0)
        if _libc.bind(self.socket.fileno(), address, len(address)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _mapped(self, offset: int, size: int) -> mmap.mmap:
        return mmap.mmap(self.socket.fileno(), size, mmap.MAP_SHARED, offset=offset)

    def frames(self) -> list[bytes]:
        """Every frame that has come."""
        (count,) = struct.unpack_from("=I", self._ring, self._producer)
        found = []
        for index in range(count):
            at, size = struct.unpack_from("=QI", self._ring, self._first + 16 * index)
            found.append(self._memory[at : at + size])
        return found

    def close(self) -> None:
        self.socket.close()
        self._ring.close()
        self._fill.close()
