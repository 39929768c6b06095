# SPDX-License-Identifier: Apache-2.0
"""Looks at an ELF file before a parser in C does: is it whole, and is it for BPF?

Pure; layouts follow the ELF-64 object file format (gABI, chapter 4).
"""

from __future__ import annotations

import struct
import sys

from bpfd.errors import InvalidArgument

MAX_OBJECT_BYTES = 64 * 1024 * 1024
"""Largest object that Load and Verify take. The largest known in the field have 3 MiB."""

_MACHINES = {
    3: "x86 (32 bit)",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC 64",
    22: "S390",
    40: "ARM (32 bit)",
    62: "x86-64",
    183: "ARM 64",
    243: "RISC-V",
    258: "LoongArch",
}
_EM_BPF = 247
_TYPES = {2: "an executable", 3: "a shared object", 4: "a core dump"}
_SHT_NOBITS = 8


def check(data: bytes, field: str = "elf") -> None:
    """Raises InvalidArgument unless `data` is a whole relocatable BPF ELF file."""
    if len(data) > MAX_OBJECT_BYTES:
        raise InvalidArgument(
            field, f"the object has {len(data)} bytes, at most {MAX_OBJECT_BYTES} are taken"
        )
    if data[:4] != b"\x7fELF":
        raise InvalidArgument(
            field, "not an ELF file; give the output of `clang -target bpf -c`"
        )
    if len(data) < 64 or data[4] != 2:
        why = "a 32-bit ELF file; BPF objects are 64-bit" if len(data) >= 52 else "truncated"
        raise InvalidArgument(field, f"{why}; build it with `clang -target bpf -c`")
    order = ">" if data[5] == 2 else "<"
    kind, machine = struct.unpack_from(f"{order}HH", data, 16)
    if machine != _EM_BPF:
        name = _MACHINES.get(machine, f"machine {machine}")
        raise InvalidArgument(
            field, f"an ELF file for {name}, not for BPF; build it with `clang -target bpf -c`"
        )
    if kind != 1:
        name = _TYPES.get(kind, f"type {kind}")
        raise InvalidArgument(field, f"{name}, not a relocatable object; build it with -c")
    if (order == "<") != (sys.byteorder == "little"):
        raise InvalidArgument(
            field,
            f"built for the other byte order; this target wants -target bpf"
            f"{'el' if sys.byteorder == 'little' else 'eb'}",
        )
    _check_sections(data, order, field)


def _check_sections(data: bytes, order: str, field: str) -> None:
    (offset,) = struct.unpack_from(f"{order}Q", data, 40)
    size, count, names = struct.unpack_from(f"{order}HHH", data, 58)
    truncated = InvalidArgument(
        field, f"truncated or damaged: {len(data)} bytes are not all of it"
    )
    if not count or size != 64:
        raise InvalidArgument(field, "no sections: there is no program in it")
    if offset + count * size > len(data) or names >= count:
        raise truncated
    for index in range(count):
        at = offset + index * size
        (section_type,) = struct.unpack_from(f"{order}I", data, at + 4)
        start, length = struct.unpack_from(f"{order}QQ", data, at + 24)
        if section_type != _SHT_NOBITS and index and start + length > len(data):
            raise truncated
