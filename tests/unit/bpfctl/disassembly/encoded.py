# SPDX-License-Identifier: Apache-2.0
"""BPF instructions as bytes, written by hand; `dumped` is an answer with them."""

from __future__ import annotations

import struct

from bpfd.v1 import programs_pb2


def insn(
    opcode: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0
) -> bytes:
    """struct bpf_insn, little endian."""
    return struct.pack("<BBhi", opcode, source << 4 | destination, offset, immediate)


def imm64(destination: int, source: int, low: int, high: int = 0) -> bytes:
    """ld_imm64: two places."""
    return insn(0x18, destination, source, 0, low) + insn(0, 0, 0, 0, high)


def call(immediate: int, source: int = 0, offset: int = 0) -> bytes:
    return insn(0x85, 0, source, offset, immediate)


EXIT = insn(0x95)


def mov(register: int, value: int) -> bytes:
    return insn(0xB7, register, 0, 0, value)


def dumped(*code: bytes, **fields: object) -> programs_pb2.DumpProgramResponse:
    """What a daemon answers for this translated code."""
    message = programs_pb2.DumpProgramResponse(code=b"".join(code), **fields)  # type: ignore[arg-type]
    message.program.id = 7
    message.program.name = "main"
    return message
