# SPDX-License-Identifier: Apache-2.0
"""Where the arguments of a USDT probe are, from the assembler's text to what bpf/usdt.bpf.h
reads (struct __bpf_usdt_spec).

Each argument is SIZE@OPERAND in the syntax of the architecture; a negative size is signed.
Offsets are of struct pt_regs as BPF programs see it: arch/*/include/uapi/asm/ptrace.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bpfd.errors import NotSupported

MAX_ARGUMENTS = 12
SPEC_BYTES = 208
"""struct __bpf_usdt_spec: 12 arguments, the cookie, their number, padding."""

MARK_AT = SPEC_BYTES - 1
"""Padding in which a byte tells a used entry without arguments from a free one."""

_CONSTANT, _REGISTER, _MEMORY, _INDEXED = range(4)
"""enum __bpf_usdt_arg_type; the last one since libbpf 1.7."""


@dataclass(frozen=True)
class Argument:
    """One argument."""

    size: int
    """Bytes; negative: signed."""
    kind: int
    value: int = 0
    """A constant, or what is added to the register before memory is read."""
    register: int = 0
    """Offset in struct pt_regs."""
    index: int = 0
    scale: int = 0
    """Bits that the index is shifted by."""

    def packed(self) -> bytes:
        """struct __bpf_usdt_arg_spec of this machine."""
        what = self.kind | self.index << 8 | self.scale << 20
        return struct.pack(
            "=QIhBb",
            self.value & (1 << 64) - 1,
            what,
            self.register,
            self.size < 0,
            64 - 8 * abs(self.size),
        )


def spec(text: str, machine: int, cookie: int) -> bytes:
    """struct __bpf_usdt_spec for the arguments of one place.

    `machine` is the e_machine of the binary. Raises NotSupported.
    """
    found = parse(text, machine)
    packed = b"".join(each.packed() for each in found).ljust(16 * MAX_ARGUMENTS, b"\0")
    tail = struct.pack("=Qh", cookie, len(found))
    return (packed + tail).ljust(MARK_AT, b"\0") + b"\1"


def parse(text: str, machine: int) -> list[Argument]:
    """The arguments in order. Pure. Raises NotSupported for what has no such form."""
    if machine not in _OPERANDS:
        raise NotSupported(
            "arguments of USDT probes of this architecture",
            needs="a binary of x86-64, arm64, arm or riscv64",
        )
    found = []
    rest = text.strip()
    while rest:
        head = re.match(r"(-?[1248])(?:f)?@", rest)
        if head is None:
            raise _unknown(rest)
        rest = rest[head.end() :]
        for pattern, make in _OPERANDS[machine]:
            if match := pattern.match(rest):
                found.append(make(int(head[1]), *match.groups()))
                rest = rest[match.end() :].lstrip()
                break
        else:
            raise _unknown(f"{head[0]}{rest}")
    if len(found) > MAX_ARGUMENTS:
        raise NotSupported(f"probes with more than {MAX_ARGUMENTS} arguments")
    return found


def _unknown(text: str) -> NotSupported:
    argument = text.split(" ", 1)[0]
    return NotSupported(
        f"the USDT argument {argument!r}", needs="a register, a number or memory"
    )


_Make = Callable[..., Argument]
_Operands = list[tuple[re.Pattern[str], _Make]]

_END = r"(?=\s|$)"
_NUMBER = r"([+-]?(?:0x[0-9a-fA-F]+|[0-9]+))"


def _constant(size: int, number: str) -> Argument:
    return Argument(size, _CONSTANT, int(number, 0))


def _of(registers: dict[str, int]) -> tuple[_Make, _Make]:
    """Makers of (register, memory) arguments."""

    def offset(name: str) -> int:
        if name not in registers:
            raise NotSupported(f"the register {name!r} in a USDT argument")
        return registers[name]

    def register(size: int, name: str) -> Argument:
        return Argument(size, _REGISTER, register=offset(name))

    def memory(size: int, added: str | None, name: str) -> Argument:
        return Argument(size, _MEMORY, int(added or "0", 0), offset(name))

    return register, memory


def _x86_64() -> _Operands:
    order = (
        *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8"),
        *("ax", "cx", "dx", "si", "di", "orig_ax", "ip", "cs", "flags", "sp"),
    )
    places = {name: 8 * index for index, name in enumerate(order)}
    registers: dict[str, int] = {}
    for name, place in places.items():
        if name.startswith("r"):
            registers |= {f"{name}{end}": place for end in ("", "d", "w", "b")}
        else:
            registers |= {f"{start}{name}": place for start in ("r", "e", "")}
    for letter in "abcd":
        registers[f"{letter}l"] = places[f"{letter}x"]
    for name in ("si", "di", "bp", "sp"):
        registers[f"{name}l"] = places[name]
    register, memory = _of(registers)

    def indexed(size: int, added: str | None, base: str, index: str, scale: str) -> Argument:
        shift = {"1": 0, "2": 1, "4": 2, "8": 3}[scale or "1"]
        first, second = register(size, base), register(size, index)
        return Argument(
            size, _INDEXED, int(added or "0", 0), first.register, second.register, shift
        )

    return [
        (re.compile(rf"\${_NUMBER}{_END}"), _constant),
        (re.compile(rf"%(\w+){_END}"), register),
        (re.compile(rf"{_NUMBER}?\(%(\w+)\){_END}"), memory),
        (re.compile(rf"{_NUMBER}?\(%(\w+),%(\w+)(?:,([1248]))?\){_END}"), indexed),
    ]


def _bracketed(registers: dict[str, int], mark: str) -> _Operands:
    """ARM's syntax: r0, [r0], [r0, #4]; `mark` stands before a number."""
    register, memory = _of(registers)
    return [
        (re.compile(rf"{mark}{_NUMBER}{_END}"), _constant),
        (re.compile(rf"([a-z]\w*){_END}"), register),
        (
            re.compile(rf"\[\s*(\w+)\s*(?:,\s*#?{_NUMBER}\s*)?\]{_END}"),
            lambda size, name, added: memory(size, added, name),
        ),
    ]


def _arm64() -> _Operands:
    registers = {f"{kind}{index}": 8 * index for kind in "xw" for index in range(31)}
    return _bracketed(registers | {"sp": 248, "pc": 256, "fp": 232, "lr": 240}, "#?")


def _arm() -> _Operands:
    registers = {f"r{index}": 4 * index for index in range(16)}
    names = ("sb", "sl", "fp", "ip", "sp", "lr", "pc")
    registers |= {name: 4 * index for index, name in enumerate(names, 9)}
    return _bracketed(registers, "#")


def _riscv() -> _Operands:
    order = (
        *("pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
        *(f"a{index}" for index in range(8)),
        *(f"s{index}" for index in range(2, 12)),
        *("t3", "t4", "t5", "t6"),
    )
    registers = {name: 8 * index for index, name in enumerate(order)}
    register, memory = _of(registers | {"fp": registers["s0"]})
    return [
        (re.compile(rf"{_NUMBER}?\((\w+)\){_END}"), memory),
        (re.compile(rf"{_NUMBER}{_END}"), _constant),
        (re.compile(rf"([a-z]\w*){_END}"), register),
    ]


_OPERANDS: dict[int, _Operands] = {62: _x86_64(), 183: _arm64(), 40: _arm(), 243: _riscv()}
"""By e_machine."""
