# SPDX-License-Identifier: Apache-2.0
"""Captures that are read and written, and those that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.packets import capture, frames

from tests.kernel import packets as p

UDP = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1000, 53, b"question")))
IP = UDP[14:]


def pcap(*packets: bytes, link_type: int = 1, order: str = "<") -> bytes:
    """https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/"""
    data = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    for number, packet in enumerate(packets):
        data += struct.pack(order + "IIII", 1000 + number, 500_000, len(packet), len(packet))
        data += packet
    return data


def pcapng(*packets: bytes, link_types: tuple[int, ...] = (1,)) -> bytes:
    """https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/"""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = 12 + len(body)
        return struct.pack("<II", kind, size) + body + struct.pack("<I", size)

    data = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    for link_type in link_types:
        data += block(1, struct.pack("<HHI", link_type, 0, 65535))
    for number, packet in enumerate(packets):
        time = (1000 + number) * 1_000_000 + 500_000
        head = struct.pack("<IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(packet), len(packet))
        data += block(6, head + packet)
    return data


def read(folder: Path, data: bytes) -> list[capture.Captured]:
    path = folder / "packets"
    path.write_bytes(data)
    return list(capture.read(path))


@pytest.mark.parametrize(
    "data", [pcap(UDP, b"x" * 99), pcap(UDP, b"x" * 99, order=">"), pcapng(UDP, b"x" * 99)]
)
def test_every_kind_of_file(tmp_path: Path, data: bytes) -> None:
    one, two = read(tmp_path, data)
    assert (one.number, one.time, one.data) == (1, 1000.5, UDP)
    assert (two.number, two.time, two.data) == (2, 1001.5, b"x" * 99)


@pytest.mark.parametrize(
    ("link_type", "data", "expected"),
    [
        (frames.RAW, IP, bytes(12) + UDP[12:]),
        (frames.IPV6, b"\x60rest", bytes(12) + b"\x86\xdd\x60rest"),
        (frames.NULL, b"\2\0\0\0" + IP, bytes(12) + UDP[12:]),
        (
            frames.LINUX_SLL,
            b"\0\0\0\1\0\6" + UDP[6:12] + b"\0\0" + UDP[12:],
            bytes(6) + UDP[6:],
        ),
        (
            frames.LINUX_SLL2,
            UDP[12:14] + b"\0\0\0\0\0\7\0\1\0\6" + UDP[6:12] + b"\0\0" + UDP[14:],
            bytes(6) + UDP[6:],
        ),
    ],
)
def test_what_has_no_ethernet_header_gets_one(
    tmp_path: Path, link_type: int, data: bytes, expected: bytes
) -> None:
    (packet,) = read(tmp_path, pcap(data, link_type=link_type))
    assert packet.data == expected


@pytest.mark.parametrize(
    "data",
    [b"", b"root:x:0:0", pcap(UDP)[:30], pcap(UDP, link_type=105), pcapng(UDP)[:60], bytes(64)],
)
def test_files_that_are_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read(tmp_path, data)


@pytest.mark.parametrize(("data", "head"), [(pcap(UDP, UDP), 24), (pcapng(UDP, UDP), 48)])
def test_files_that_end_within_a_packet(tmp_path: Path, data: bytes, head: int) -> None:
    size = (len(data) - head) // 2
    for cut in range(head + 1, len(data)):
        if (cut - head) % size:
            with pytest.raises(InvalidArgument, match="damaged"):
                read(tmp_path, data[:cut])
        else:
            assert len(read(tmp_path, data[:cut])) == 1


def test_interfaces_of_several_link_types(tmp_path: Path) -> None:
    assert len(read(tmp_path, pcapng(UDP, link_types=(1, 1)))) == 1
    with pytest.raises(InvalidArgument, match="link types 1, 101"):
        read(tmp_path, pcapng(UDP, link_types=(1, 101)))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(capture.read(tmp_path / "no"))
    with pytest.raises(InvalidArgument):
        list(capture.read(tmp_path))
    with pytest.raises(InvalidArgument), capture.writing(tmp_path / "no" / "out"):
        pass


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    large = bytes(100_000)
    with capture.writing(path) as writer:
        writer.writepkt(UDP, 1.25)
        writer.writepkt(large, 2.0)
    assert [(each.time, each.data) for each in capture.read(path)] == [
        (1.25, UDP),
        (2.0, large),
    ]


def test_choices() -> None:
    packets = [capture.Captured(number, 0.0, b"") for number in range(1, 8)]

    def chosen(text: str) -> list[int]:
        return [each.number for each in capture.Choice.parse(text).of(iter(packets))]

    assert chosen("all") == [1, 2, 3, 4, 5, 6, 7]
    assert chosen("3") == [3]
    assert chosen("3-4") == [3, 4]
    assert chosen("6-") == [6, 7]
    assert chosen("9") == []
    for wrong in ("0", "-3", "4-3", "x", "", "1-2-3", "٣"):
        with pytest.raises(InvalidArgument, match="--packet"):
            chosen(wrong)
