# SPDX-License-Identifier: Apache-2.0
"""USDT arguments as assemblers write them."""

from __future__ import annotations

import struct

import pytest

from bpfd.attach.usdt_arguments import Argument, parse, spec
from bpfd.errors import NotSupported

X86_64, ARM64, ARM, RISCV = 62, 183, 40, 243
CONSTANT, REGISTER, MEMORY, INDEXED = range(4)


@pytest.mark.parametrize(
    ("machine", "text", "found"),
    [
        (X86_64, "-4@$-5", Argument(-4, CONSTANT, -5)),
        (X86_64, "8@%rax", Argument(8, REGISTER, register=80)),
        (X86_64, "-4@%r9d", Argument(-4, REGISTER, register=64)),
        (X86_64, "1@%dil", Argument(1, REGISTER, register=112)),
        (X86_64, "2@%bx", Argument(2, REGISTER, register=40)),
        (X86_64, "8@-1204(%rbp)", Argument(8, MEMORY, -1204, 32)),
        (X86_64, "8@(%rsp)", Argument(8, MEMORY, 0, 152)),
        (X86_64, "4@16(%rdi,%rcx,8)", Argument(4, INDEXED, 16, 112, 88, 3)),
        (ARM64, "-4@5", Argument(-4, CONSTANT, 5)),
        (ARM64, "8@x19", Argument(8, REGISTER, register=152)),
        (ARM64, "-8@[sp, 88]", Argument(-8, MEMORY, 88, 248)),
        (ARM64, "4@[x29]", Argument(4, MEMORY, 0, 232)),
        (ARM, "-4@#-1", Argument(-4, CONSTANT, -1)),
        (ARM, "-4@r4", Argument(-4, REGISTER, register=16)),
        (ARM, "4@[fp, #-16]", Argument(4, MEMORY, -16, 44)),
        (ARM, "4@[r0]", Argument(4, MEMORY, 0, 0)),
        (RISCV, "-8@-88(s0)", Argument(-8, MEMORY, -88, 64)),
        (RISCV, "8@a1", Argument(8, REGISTER, register=88)),
        (RISCV, "-4@5", Argument(-4, CONSTANT, 5)),
    ],
)
def test_one_argument(machine: int, text: str, found: Argument) -> None:
    assert parse(text, machine) == [found]


def test_several_arguments_with_blanks_inside() -> None:
    found = parse(" -4@[sp, #12] 8@x0  4@3 ", ARM64)
    assert [each.kind for each in found] == [MEMORY, REGISTER, CONSTANT]
    assert parse("", X86_64) == []


@pytest.mark.parametrize(
    ("machine", "text", "said"),
    [
        (X86_64, "8@name(%rip)", "'8@name\\(%rip\\)'"),
        (X86_64, "8f@%xmm0", "'xmm0'"),
        (X86_64, "3@%eax", "'3@%eax'"),
        (X86_64, "%eax", "'%eax'"),
        (X86_64, " ".join(["4@$1"] * 13), "more than 12"),
        (ARM64, "8@q0", "'q0'"),
        (3, "4@%eax", "this architecture"),
    ],
)
def test_what_has_no_form(machine: int, text: str, said: str) -> None:
    with pytest.raises(NotSupported, match=said):
        parse(text, machine)


def test_a_spec_is_what_the_header_reads() -> None:
    made = spec("-4@%edi 8@$-1 4@8(%rdi,%rsi,4)", X86_64, 0x1122)
    assert len(made) == 208
    first = (0, REGISTER, 112, True, 32)
    assert struct.unpack_from("=QIhBb", made, 0) == first
    assert struct.unpack_from("=QIhBb", made, 16) == ((1 << 64) - 1, CONSTANT, 0, False, 0)
    what = INDEXED | 104 << 8 | 2 << 20
    assert struct.unpack_from("=QIhBb", made, 32) == (8, what, 112, False, 32)
    assert struct.unpack_from("=Qh", made, 192) == (0x1122, 3)
    assert any(spec("", X86_64, 0))
