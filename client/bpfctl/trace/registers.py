# SPDX-License-Identifier: Apache-2.0
"""Where a function finds its arguments: the calling conventions of C, by machine.

x86-64: System V ABI, AMD64 supplement 1.0, section 3.2.3. arm64: AAPCS64, section 6.8.2.
32-bit arm: AAPCS32, section 6.5. riscv64: RISC-V psABI, "Integer Calling Convention".
The kernel uses the same ones. What lies on the stack or in registers of floating point is
not read: probes see the general registers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .values import CType

ON_STACK = "it lies on the stack"
FLOATING = "floating point: it is in a register that probes do not see"
BY_VALUE = "a struct by value"
WIDE = "an integer of 128 bits"
UNKNOWN_SIZE = "its type is not known"


@dataclass(frozen=True)
class Convention:
    """Registers of one machine."""

    machine: str
    registers: tuple[str, ...]
    """C expressions over `ctx` of arguments, in their order."""
    result: tuple[str, ...]
    """Those of a returned integer, the low part first."""
    declaration: str
    """The struct registers that probes are given."""
    caller: str
    """The address that the function returns to, at its entry; "*" before: it lies there."""
    word: int = 8
    """Bytes of a register as functions see it."""
    pairs_aligned: bool = False
    """Values of two registers begin at an even one."""
    struct_words: int = 2
    """Structs by value of up to so many registers take these; larger ones lie elsewhere."""
    large_by_reference: bool = True
    """A larger struct takes one register that points to a copy, else none."""


_X86_64 = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx"),
    *("si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
)


def _declared(names: Sequence[str], kind: str = "__u64") -> str:
    lines = [f"\t{kind} {name};" for name in names]
    return "struct registers {\n" + "\n".join(lines) + "\n};\n"


_ARM64_REGISTERS = ("regs[31]", "sp", "pc", "pstate")
_RISCV = (
    *("pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{number}" for number in range(8)),
)

_CONVENTIONS = {
    "x86_64": Convention(
        "x86_64",
        ("ctx->di", "ctx->si", "ctx->dx", "ctx->cx", "ctx->r8", "ctx->r9"),
        ("ctx->ax", "ctx->dx"),
        _declared(_X86_64),
        "*ctx->sp",
        large_by_reference=False,
    ),
    "aarch64": Convention(
        "aarch64",
        tuple(f"ctx->regs[{number}]" for number in range(8)),
        ("ctx->regs[0]", "ctx->regs[1]"),
        _declared(_ARM64_REGISTERS),
        "ctx->regs[30]",
    ),
    "arm": Convention(
        "arm",
        tuple(f"ctx->uregs[{number}]" for number in range(4)),
        ("ctx->uregs[0]", "ctx->uregs[1]"),
        _declared(("uregs[18]",), "__u32"),
        "ctx->uregs[14]",
        word=4,
        pairs_aligned=True,
        struct_words=4,
    ),
    # A process of 32 bits on a 64-bit kernel: r0 to r3 are the low halves of x0 to x3.
    "arm on aarch64": Convention(
        "arm",
        tuple(f"(__u32)ctx->regs[{number}]" for number in range(4)),
        ("(__u32)ctx->regs[0]", "(__u32)ctx->regs[1]"),
        _declared(_ARM64_REGISTERS),
        "(__u32)ctx->regs[14]",
        word=4,
        pairs_aligned=True,
        struct_words=4,
    ),
    "riscv64": Convention(
        "riscv64",
        tuple(f"ctx->a{number}" for number in range(8)),
        ("ctx->a0", "ctx->a1"),
        _declared(_RISCV),
        "ctx->ra",
    ),
}


def convention(machine: str, binary: str = "") -> Convention | None:
    """Of a kernel's `uname -m`, and of a binary's ELF machine ("EM_ARM") where it is one of
    another size; None: its arguments are not read."""
    name = "arm" if machine.startswith("arm") else machine
    if binary == "EM_ARM" and name == "aarch64":
        return _CONVENTIONS["arm on aarch64"]
    fits = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "arm": "EM_ARM"}
    if binary and fits.get(name, binary) != binary:
        return None
    return _CONVENTIONS.get(name)


@dataclass(frozen=True)
class Place:
    """Where an argument is: an expression of C, or why there is none."""

    code: str = ""
    why: str = ""


def places(convention: Convention, types: Sequence[CType]) -> list[Place]:
    """The place of each argument of a function with these, in their order. Pure."""
    found = []
    free = list(convention.registers)
    total = len(free)
    for each in types:
        words = max(1, -(-each.size // convention.word))
        if each.shape == "float":
            found.append(Place(why=FLOATING))
            continue
        if each.shape in ("struct", "array"):
            by_register = words <= convention.struct_words
            if by_register and len(free) >= words:
                free = free[words:]
            elif not by_register and convention.large_by_reference:
                free = free[1:]
            found.append(Place(why=BY_VALUE))
            continue
        if not each.scalar and each.size != 16:
            found.append(Place(why=UNKNOWN_SIZE))
            continue
        if words == 2 and convention.pairs_aligned and (total - len(free)) % 2:
            free = free[1:]
        if len(free) < words:
            if convention.pairs_aligned:
                free = []
            found.append(Place(why=ON_STACK))
            continue
        taken, free = free[:words], free[words:]
        if each.size == 16:
            found.append(Place(why=WIDE))
        else:
            found.append(Place(_joined(taken)))
    return found


def result(convention: Convention, kind: CType) -> Place:
    """Where a returned value is."""
    if kind.shape == "float":
        return Place(why=FLOATING)
    if not kind.scalar:
        return Place(why=WIDE if kind.size == 16 and kind.shape == "int" else BY_VALUE)
    words = max(1, -(-kind.size // convention.word))
    return Place(_joined(convention.result[:words]))


def _joined(registers: Sequence[str]) -> str:
    if len(registers) == 1:
        return registers[0]
    return f"({registers[0]} | (__u64){registers[1]} << 32)"
