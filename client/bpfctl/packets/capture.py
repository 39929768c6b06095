# SPDX-License-Identifier: Apache-2.0
"""Capture files: pcap and pcapng read, pcap written (by dpkt)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.packets.frames import ETHERNET, frame

_CUT = "it ends within a packet"
_SECTION, _INTERFACE = b"\x0a\x0d\x0d\x0a", 1
"""Types of pcapng's blocks."""

_SNAPLEN = 262144
"""Bytes of a packet that are kept at most, as by tcpdump."""


@dataclass(frozen=True)
class Captured:
    """One packet of a file."""

    number: int
    """From 1 on, as Wireshark counts."""
    time: float
    """Seconds since 1970."""
    data: bytes
    """An Ethernet frame."""


def read(path: Path) -> Iterator[Captured]:
    """Every packet of a pcap or pcapng file, as an Ethernet frame.

    Raises NotFound and InvalidArgument, the latter also for a file that ends within a packet.
    """
    import dpkt

    try:
        with open(path, "rb") as file:
            _check_link_types(path, file)
            packets = dpkt.pcap.UniversalReader(_Whole(file))
            link_type = packets.datalink()
            for number, (time, data) in enumerate(packets, 1):
                if not data:
                    raise ValueError(_CUT)
                yield Captured(number, float(time), frame(data, link_type))
    except FileNotFoundError:
        raise NotFound("file", str(path)) from None
    except OSError as error:
        raise InvalidArgument(str(path), error.strerror or str(error)) from None
    except (ValueError, struct.error, dpkt.Error) as error:
        why = "it is no pcap or pcapng file, or is damaged"
        raise InvalidArgument(str(path), f"{why}: {error}") from None


class _Whole:
    """A file whose reads are never short: dpkt takes half a packet for a packet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.name = file.name

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if 0 < len(data) < size:
            raise ValueError(_CUT)
        return data

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)


def _check_link_types(path: Path, file: BinaryIO) -> None:
    """Raises InvalidArgument where the interfaces of a pcapng file are of several link
    types: dpkt takes the first one's for all. The file is at its beginning afterwards."""
    head = file.read(12)
    order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(head[8:12])
    found = set()
    if head[:4] == _SECTION and order is not None:
        file.seek(0)
        while len(block := file.read(10)) == 10:
            kind, size, link_type = struct.unpack(order + "IIH", block)
            if kind == _INTERFACE:
                found.add(link_type)
            if size < 12:
                break
            file.seek(size - len(block), os.SEEK_CUR)
    file.seek(0)
    if len(found) > 1:
        types = ", ".join(map(str, sorted(found)))
        hint = "keep one interface (`tshark -Y frame.interface_id==0 -w ...`)"
        raise InvalidArgument(str(path), f"its interfaces have the link types {types}; {hint}")


class Writer(Protocol):
    """Takes packets one by one."""

    def writepkt(self, pkt: bytes, ts: float) -> None: ...


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A new pcap file of Ethernet frames. Raises InvalidArgument."""
    import dpkt

    try:
        file: BinaryIO = open(path, "wb")  # noqa: SIM115
    except OSError as error:
        raise InvalidArgument(str(path), error.strerror or str(error)) from None
    with file:
        writer: Writer = dpkt.pcap.Writer(file, snaplen=_SNAPLEN, linktype=ETHERNET, nano=True)
        yield writer


@dataclass(frozen=True)
class Choice:
    """Which packets of a file: their numbers, from 1 on, both ends included."""

    first: int = 1
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> Choice:
        """ "all", "7", "7-9", "7-". Raises InvalidArgument.

        >>> Choice.parse("7-9")
        Choice(first=7, last=9)
        """
        if text == "all":
            return cls()
        first, dash, last = text.partition("-")
        if first.isascii() and first.isdigit() and int(first) > 0:
            if not dash:
                return cls(int(first), int(first))
            if not last:
                return cls(int(first))
            if last.isascii() and last.isdigit() and int(last) >= int(first):
                return cls(int(first), int(last))
        raise InvalidArgument("--packet", f"{text!r} is none of all, 7, 7-9 and 7-")

    def of(self, packets: Iterator[Captured]) -> Iterator[Captured]:
        """The chosen ones; what is behind the last is not read."""
        for packet in packets:
            if self.last is not None and packet.number > self.last:
                return
            if packet.number >= self.first:
                yield packet
