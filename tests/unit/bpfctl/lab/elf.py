# SPDX-License-Identifier: Apache-2.0
"""Kernel modules for tests: ELF files with nothing but a `.modinfo`."""

from __future__ import annotations

import struct


def module(**entries: str | list[str]) -> bytes:
    """A 64-bit little-endian ELF file; a list gives several entries of that key."""
    info = b"".join(
        f"{key}={value}".encode() + b"\0"
        for key, values in entries.items()
        for value in ([values] if isinstance(values, str) else values)
    )
    names = b"\0.modinfo\0.shstrtab\0"
    body = info + names
    sections = (
        bytes(64)
        + struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, 64, len(info), 0, 0, 1, 0)
        + struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)
    )
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 1, 183, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, 3, 2
    )
    return header + body + sections
