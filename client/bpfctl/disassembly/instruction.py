# SPDX-License-Identifier: Apache-2.0
"""struct bpf_insn: bytes -> fields, and where an instruction may go on.

Encoding: Documentation/bpf/standardization/instruction-set.rst (RFC 9669) and
include/linux/filter.h of the kernel, for what only its own rewritten code has.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

BYTES = 8


class Class(IntEnum):
    """The lowest three bits of an opcode."""

    LD = 0
    LDX = 1
    ST = 2
    STX = 3
    ALU = 4
    JMP = 5
    JMP32 = 6
    ALU64 = 7


class Pseudo(IntEnum):
    """BPF_PSEUDO_*: what the source register of `ld_imm64` says of its number.

    A dump has ids of maps in the first two, whatever the program was loaded with.
    """

    NUMBER = 0
    MAP = 1
    MAP_VALUE = 2
    BTF_ID = 3
    FUNCTION = 4
    MAP_INDEX = 5
    MAP_INDEX_VALUE = 6


class Call(IntEnum):
    """What the source register of `call` says of its number."""

    HELPER = 0
    FUNCTION = 1
    KFUNC = 2


LD_IMM64 = 0x18
CALL = 0x85
CALL_REGISTER = 0x8D
EXIT = 0x95
GOTO = 0x05
GOTO_REGISTER = 0x0D
GOTO_LONG = 0x06
MAY_GOTO = 0xE5
TAIL_CALL = 12
"""BPF_FUNC_tail_call: the one helper that translated code calls by number."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; `ld_imm64` takes two places, with `high` from the second one."""

    index: int
    """Place in the program, in units of 8 bytes, as jumps and verifier logs count."""
    opcode: int
    destination: int
    source: int
    offset: int
    immediate: int
    """Signed, 32 bits."""
    high: int = 0
    """Second immediate of `ld_imm64`, signed."""
    raw: bytes = b""

    @property
    def kind(self) -> Class:
        return Class(self.opcode & 7)

    @property
    def places(self) -> int:
        """2 for `ld_imm64`, else 1."""
        return max(1, len(self.raw) // BYTES)

    @property
    def following(self) -> int:
        """Index of the next instruction."""
        return self.index + self.places

    @property
    def number(self) -> int:
        """The 64 bits of `ld_imm64`, without sign."""
        return self.immediate & 0xFFFFFFFF | (self.high & 0xFFFFFFFF) << 32

    @property
    def is_exit(self) -> bool:
        return self.opcode == EXIT

    @property
    def is_call(self) -> bool:
        return self.opcode == CALL

    @property
    def is_conditional(self) -> bool:
        """Goes to `target` or on."""
        if self.opcode == MAY_GOTO:
            return True
        operation = self.opcode >> 4
        return self.kind in (Class.JMP, Class.JMP32) and (
            0x1 <= operation <= 0x7 or 0xA <= operation <= 0xD
        )

    @property
    def target(self) -> int | None:
        """Index that a jump goes to; None: no jump, or to where a register says."""
        if self.opcode == GOTO_LONG:
            return self.following + self.immediate
        if self.opcode == GOTO or self.is_conditional:
            return self.following + self.offset
        return None

    @property
    def ends_block(self) -> bool:
        """What stands behind it is not always reached from it."""
        return (
            self.is_exit
            or self.is_conditional
            or self.opcode in (GOTO, GOTO_LONG, GOTO_REGISTER)
        )

    @property
    def goes_on(self) -> bool:
        """The next instruction may follow."""
        return not self.is_exit and self.opcode not in (GOTO, GOTO_LONG, GOTO_REGISTER)

    @property
    def callee(self) -> int | None:
        """Index of the function of the program that it calls or takes the address of.

        In what the kernel dumps the distance of a call stands in the offset, and the number
        of the function in the immediate (jit_subprogs in kernel/bpf/verifier.c); in a program
        that is not loaded yet the distance is the immediate, and the offset 0.
        """
        if self.opcode == CALL and self.source == Call.FUNCTION:
            return self.following + (self.offset or self.immediate)
        if self.opcode == LD_IMM64 and self.source == Pseudo.FUNCTION:
            return self.index + 1 + self.immediate
        return None


def decode(code: bytes, *, big_endian: bool = False) -> list[Instruction]:
    """Every instruction of a program; bytes behind the last whole one are left out.

    An `ld_imm64` without its second half has one place and is shown as unknown.
    """
    layout = struct.Struct(">BBhi" if big_endian else "<BBhi")
    found: list[Instruction] = []
    end = len(code) // BYTES * BYTES
    at = 0
    while at < end:
        opcode, registers, offset, immediate = layout.unpack_from(code, at)
        low, upper = registers & 0xF, registers >> 4
        destination, source = (upper, low) if big_endian else (low, upper)
        size, high = BYTES, 0
        if opcode == LD_IMM64 and at + BYTES < end:
            size, high = 2 * BYTES, layout.unpack_from(code, at + BYTES)[3]
        found.append(
            Instruction(
                at // BYTES,
                opcode,
                destination,
                source,
                offset,
                immediate,
                high,
                code[at : at + size],
            )
        )
        at += size
    return found
