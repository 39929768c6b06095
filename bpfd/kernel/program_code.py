# SPDX-License-Identifier: Apache-2.0
"""A program's instructions as they were given to the verifier, to be loaded once more.

What the kernel shows of a loaded program has been rewritten by the verifier and cannot be
loaded again. So that programs can be joined to one later (`bpfd.attach.chain`), what went
in is kept for as long as the program is: CO-RE and subprograms are settled in it, and maps
have their kernel ids in place of file descriptors. A pinned program has it in a frozen array
map of one value beside its pin, which goes exactly when the pin goes.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from bpfd.kernel import syscall
from bpfd.kernel.constants import (
    BPF_LD_IMM64,
    BPF_PSEUDO_MAP_FD,
    BPF_PSEUDO_MAP_VALUE,
    MapType,
)
from bpfd.kernel.info import map_info

FUNC_INFO_BYTES, LINE_INFO_BYTES = 8, 16
"""struct bpf_func_info and struct bpf_line_info of linux/bpf.h."""

INSTRUCTION = struct.Struct("=BBhi")
"""Operation, registers, offset, immediate: struct bpf_insn."""

_MAP_NAME = "bpfd_code"
_VERSION = 1
_LENGTH = struct.Struct("=I")
_KEY = bytes(4)
_MAPS = (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE)


@dataclass(frozen=True)
class Code:
    """What BPF_PROG_LOAD took, but for names and fds."""

    instructions: bytes
    """8 bytes each; loads of maps name kernel ids."""
    func_info: bytes = b""
    """Records of 8 bytes, by the program's BTF; empty: it was loaded without."""
    line_info: bytes = b""
    """Records of 16 bytes."""
    flags: int = 0
    ifindex: int = 0
    """Of the device that it was loaded for (BPF_F_XDP_DEV_BOUND_ONLY)."""


_lock = threading.Lock()
_known: dict[int, Code] = {}


def remember(program_id: int, code: Code) -> None:
    """Keeps the code of a program that this process holds."""
    with _lock:
        _known[program_id] = code


def forget(program_id: int) -> None:
    """The program goes."""
    with _lock:
        _known.pop(program_id, None)


def of(program_id: int) -> Code | None:
    """The code of a program; None: another process loaded it."""
    with _lock:
        return _known.get(program_id)


def source_of(registers: int) -> int:
    """The source register, which in some operations says what the immediate is."""
    return registers >> 4 if sys.byteorder == "little" else registers & 0x0F


def registers(target: int, source: int) -> int:
    """The byte of both registers; bit fields follow the byte order."""
    return target | source << 4 if sys.byteorder == "little" else target << 4 | source


def with_maps(instructions: bytes, exchange: Callable[[int], int]) -> bytes:
    """A copy in which every load of a map names `exchange` of what it named. Pure."""
    code = bytearray(instructions)
    at, end = 0, len(code) - 15
    while at < end:
        if code[at] != BPF_LD_IMM64:
            at += 8
            continue
        if source_of(code[at + 1]) in _MAPS:
            (number,) = struct.unpack_from("=i", code, at + 4)
            struct.pack_into("=i", code, at + 4, exchange(number))
        at += 16
    return bytes(code)


def taken(
    instructions: bytes,
    func_info: bytes = b"",
    func_info_record_size: int = 0,
    line_info: bytes = b"",
    line_info_record_size: int = 0,
    *,
    flags: int = 0,
    ifindex: int = 0,
) -> Code:
    """The code of a load whose map fds are open still. Raises OSError."""
    ids: dict[int, int] = {}

    def number(fd: int) -> int:
        if fd not in ids:
            ids[fd] = map_info(fd).id
        return ids[fd]

    return Code(
        with_maps(instructions, number),
        _cut(func_info, func_info_record_size, FUNC_INFO_BYTES),
        _cut(line_info, line_info_record_size, LINE_INFO_BYTES),
        flags,
        ifindex,
    )


def _cut(records: bytes, size: int, wanted: int) -> bytes:
    """Records of a later kernel header, without what this one does not know."""
    if not size or size == wanted:
        return records
    return b"".join(records[at : at + wanted] for at in range(0, len(records), size))


def pack(code: Code) -> bytes:
    """As bytes; `unpack` is the way back. Pure."""
    parts = (code.instructions, code.func_info, code.line_info)
    header = json.dumps(
        {
            "version": _VERSION,
            "sizes": [len(part) for part in parts],
            "flags": code.flags,
            "ifindex": code.ifindex,
        }
    ).encode()
    return b"".join((_LENGTH.pack(len(header)), header, *parts))


def unpack(data: bytes) -> Code:
    """Raises ValueError for what `pack` did not write."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        header = json.loads(data[4 : 4 + length])
        first, second, third = header["sizes"]
        if header["version"] != _VERSION or 4 + length + first + second + third > len(data):
            raise ValueError("of another version, or cut")
        rest = data[4 + length :]
        return Code(
            rest[:first],
            rest[first : first + second],
            rest[first + second : first + second + third],
            int(header["flags"]),
            int(header["ifindex"]),
        )
    except (struct.error, KeyError, TypeError) as error:
        raise ValueError(f"not the code of a program: {error}") from None


def to_map(code: Code) -> int:
    """The fd of a frozen map that keeps it. Raises OSError."""
    data = pack(code)
    fd = syscall.map_create(MapType.ARRAY, len(_KEY), len(data), 1, name=_MAP_NAME)
    try:
        syscall.map_update_elem(fd, _KEY, data)
        syscall.map_freeze(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def from_map(fd: int) -> Code:
    """What `to_map` kept. Raises OSError, ValueError."""
    info = map_info(fd)
    if info.name.decode() != _MAP_NAME or info.type != MapType.ARRAY:
        raise ValueError("another map")
    return unpack(syscall.map_lookup_elem(fd, _KEY, info.value_size))
