# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

from bpfd.attachments import map_entries
from bpfd.kernel.constants import MapType
from bpfd.v1 import common_pb2, links_pb2


def test_program_in_a_value() -> None:
    assert map_entries.program_in(struct.pack("=I", 7)) == 7
    assert map_entries.program_in(struct.pack("=II", 3, 9)) == 9  # interface or queue before


def attachments(*maps: common_pb2.KernelMap) -> tuple[list[links_pb2.Attachment], list[str]]:
    left_out: list[str] = []
    found = map_entries.attachments(maps, lambda what, why: left_out.append(f"{what}: {why}"))
    return list(found), left_out


def a_map(kind: int, value_size: int, entries: int) -> common_pb2.KernelMap:
    message = common_pb2.KernelMap(id=0, name="m", value_size=value_size, max_entries=entries)
    message.type = common_pb2.MapType.ValueType(kind)
    return message


def test_huge_arrays_are_said_to_be_left_out() -> None:
    found, left_out = attachments(a_map(MapType.PROG_ARRAY, 4, 65536))
    assert not found
    assert left_out == ["programs in map 0 (m): it has room for 65536, and 1024 are looked at"]


def test_maps_without_programs_and_maps_that_are_gone() -> None:
    hashes = a_map(MapType.HASH, 4, 65536)
    plain = a_map(MapType.DEVMAP, 4, 65536)
    gone = a_map(MapType.PROG_ARRAY, 4, 8)
    assert attachments(hashes, plain, gone) == ([], [])
