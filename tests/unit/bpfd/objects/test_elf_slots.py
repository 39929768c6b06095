# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import pytest

from bpfd.objects import elf_slots

_STRINGS = b"\0.maps\0.maps_of_others\0xdp\0"


def elf(order: str, *sections: tuple[str, int, int]) -> bytes:
    """A file of sections (name, type, sh_info) behind the section of names."""
    headers = [bytes(64), _header(order, 0, 3, 64, len(_STRINGS), 0)]
    for name, kind, info in sections:
        at = _STRINGS.index(f"{name}\0".encode())
        headers.append(_header(order, at, kind, 0, 0, info))
    start = 64 + len(_STRINGS)
    identity = b"\x7fELF\x02" + (b"\x02" if order == ">" else b"\x01")
    head = bytearray(identity.ljust(64, b"\0"))
    struct.pack_into(f"{order}Q", head, 40, start)
    struct.pack_into(f"{order}HHH", head, 58, 64, len(headers), 1)
    return bytes(head) + _STRINGS + b"".join(headers)


def _header(order: str, name: int, kind: int, offset: int, size: int, info: int) -> bytes:
    return struct.pack(f"{order}IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, info, 1, 16)


def kinds(order: str, data: bytes) -> list[int]:
    start = 64 + len(_STRINGS)
    return [
        struct.unpack_from(f"{order}I", data, at + 4)[0] for at in range(start, len(data), 64)
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_relocations_of_maps_alone_are_hidden(order: str) -> None:
    data = elf(
        order,
        *((".maps", 1, 0), (".maps_of_others", 1, 0), ("xdp", 1, 0)),
        *(("xdp", 9, 2), ("xdp", 9, 3), ("xdp", 9, 4), ("xdp", 9, 99)),
    )
    emptied = elf_slots.emptied(data)
    assert kinds(order, data) == [0, 3, 1, 1, 1, 9, 9, 9, 9]
    assert kinds(order, emptied) == [0, 3, 1, 1, 1, 7, 9, 9, 9]
    assert len(emptied) == len(data)


def test_an_object_without_them_is_as_it_was() -> None:
    data = elf("<", (".maps", 1, 0), ("xdp", 9, 3))
    assert elf_slots.emptied(data) is data
