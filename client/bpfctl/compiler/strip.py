# SPDX-License-Identifier: Apache-2.0
"""Drop DWARF from an object and keep BTF.

clang writes BTF only together with DWARF (-g), and DWARF of vmlinux.h is twenty times the
rest. llvm-strip is not everywhere where a compiler is, so this does what is needed of it:
sections keep their headers and numbers, so that no symbol or relocation has to be
renumbered; those of DWARF become empty and the bytes behind them move up.
"""

from __future__ import annotations

import struct

_HEADER_BYTES = 64
_SECTION_HEADER_BYTES = 64
_NOBITS = 8


def strip_dwarf(data: bytes) -> bytes:
    """The object without the contents of its .debug sections.

    `data` must be a 64-bit relocatable file that the compiler has just written.
    """
    order = ">" if data[5] == 2 else "<"
    (headers,) = struct.unpack_from(order + "Q", data, 0x28)
    count, names_index = struct.unpack_from(order + "HH", data, 0x3C)
    layout = struct.Struct(order + "IIQQQQIIQQ")
    sections = [
        list(layout.unpack_from(data, headers + index * _SECTION_HEADER_BYTES))
        for index in range(count)
    ]
    names = data[sections[names_index][4] :]
    out = bytearray(data[:_HEADER_BYTES])
    for section in sections:
        name = names[section[0] : names.index(b"\0", section[0])]
        _, kind, _, _, offset, size, _, _, alignment, _ = section
        if name.startswith((b".debug_", b".rel.debug_")):
            size = section[5] = 0
        if kind != _NOBITS:
            out += bytes(-len(out) % max(alignment, 1))
            section[4] = len(out)
            out += data[offset : offset + size]
    out += bytes(-len(out) % 8)
    struct.pack_into(order + "Q", out, 0x28, len(out))
    for section in sections:
        out += layout.pack(*section)
    return bytes(out)
