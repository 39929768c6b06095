# SPDX-License-Identifier: Apache-2.0
"""What maps of programs and of maps hold from the start, taken out of an object.

Such values (`.values = {[0] = (void *)&program}`) are relocations of the section ".maps".
libbpf fills them in behind the load, and fails where a program of them was left out; the
verifier never looks at them. Pure; for objects that `elf_check` took.
"""

from __future__ import annotations

import struct

_HEADER_BYTES = 64
_SHT_REL, _SHT_NOTE = 9, 7


def emptied(data: bytes) -> bytes:
    """The object with such maps empty: libbpf does not read sections of notes."""
    order = ">" if data[5] == 2 else "<"
    (offset,) = struct.unpack_from(f"{order}Q", data, 40)
    count, names = struct.unpack_from(f"{order}HH", data, 60)
    headers = [offset + index * _HEADER_BYTES for index in range(count)]
    (strings,) = struct.unpack_from(f"{order}Q", data, headers[names] + 24)
    changed = bytearray(data)
    for header in headers:
        kind, target = _field(data, order, header, 4), _field(data, order, header, 44)
        if kind != _SHT_REL or target >= count:
            continue
        name = strings + _field(data, order, headers[target], 0)
        if data[name : name + 6] == b".maps\0":
            struct.pack_into(f"{order}I", changed, header + 4, _SHT_NOTE)
    return bytes(changed) if changed != data else data


def _field(data: bytes, order: str, header: int, at: int) -> int:
    return int(struct.unpack_from(f"{order}I", data, header + at)[0])
