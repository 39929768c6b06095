# SPDX-License-Identifier: Apache-2.0
"""The GNU build id of an ELF file: a note that the linker writes.

Only what is needed is read, at most `_MAX_NOTES` bytes of notes: the file may be hostile.
"""

from __future__ import annotations

import os
import struct
import sys

_ET_CORE = 4
_PT_NOTE = 4
_NT_GNU_BUILD_ID = 3
_MAX_SEGMENTS = 256
_MAX_NOTES = 64 << 10
_MAX_ID = 64
_KERNEL_NOTES = "/sys/kernel/notes"


def is_elf(fd: int) -> bool:
    """Whether it is an ELF file, and not a core, which is memory. Raises OSError."""
    head = os.pread(fd, 18, 0)
    if len(head) < 18 or head[:4] != b"\x7fELF":
        return False
    return int.from_bytes(head[16:18], "big" if head[5] == 2 else "little") != _ET_CORE


def build_id(fd: int) -> bytes:
    """The build id of an open file; empty: it has none, or is no sound ELF file."""
    try:
        return _find(fd)
    except (struct.error, OSError, OverflowError):
        return b""


def build_id_of(path: str) -> bytes:
    """The same for a path that may be trusted not to block; empty: it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return build_id(fd)
    finally:
        os.close(fd)


def kernel_build_id() -> bytes:
    """The build id of the running kernel; empty: it has none, or does not show it."""
    try:
        with open(_KERNEL_NOTES, "rb", buffering=0) as file:
            return _in_notes(file.read(_MAX_NOTES), "<" if sys.byteorder == "little" else ">")
    except (struct.error, OSError):
        return b""


def _find(fd: int) -> bytes:
    head = os.pread(fd, 64, 0)
    if len(head) < 52 or head[:4] != b"\x7fELF" or {head[4], head[5]} - {1, 2}:
        return b""
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    if wide:
        (table,) = struct.unpack_from(order + "Q", head, 32)
        size, count = struct.unpack_from(order + "HH", head, 54)
    else:
        (table,) = struct.unpack_from(order + "I", head, 28)
        size, count = struct.unpack_from(order + "HH", head, 42)
    count = min(count, _MAX_SEGMENTS)
    headers = os.pread(fd, size * count, table)
    for index in range(count):
        at = index * size
        if struct.unpack_from(order + "I", headers, at)[0] != _PT_NOTE:
            continue
        if wide:
            offset, length = _pair(order + "Q", headers, at + 8, at + 32)
        else:
            offset, length = _pair(order + "I", headers, at + 4, at + 16)
        if found := _in_notes(os.pread(fd, min(length, _MAX_NOTES), offset), order):
            return found
    return b""


def _pair(form: str, data: bytes, first: int, second: int) -> tuple[int, int]:
    return struct.unpack_from(form, data, first)[0], struct.unpack_from(form, data, second)[0]


def _in_notes(notes: bytes, order: str) -> bytes:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from(order + "III", notes, at)
        name = notes[at + 12 : at + 12 + name_size]
        begin = at + 12 + (name_size + 3) // 4 * 4
        if kind == _NT_GNU_BUILD_ID and name == b"GNU\0" and size <= _MAX_ID:
            return notes[begin : begin + size]
        at = begin + (size + 3) // 4 * 4
    return b""
