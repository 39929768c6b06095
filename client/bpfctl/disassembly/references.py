# SPDX-License-Identifier: Apache-2.0
"""Which kernel address an instruction of a CPU refers to, by its text.

JITs build addresses in pieces: arm64 with movn/movz and movk, arm with movw and movt, riscv
with auipc and jalr or lui and addi. One who reads wants to see the name at the last piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

_NUMBER = r"(-?(?:0x[0-9a-f]+|\d+))"
_MASK64 = 2**64 - 1


class Referring(Protocol):
    """Takes the instructions of a function in order; gives an address, or 0."""

    def __call__(self, mnemonic: str, operands: str, address: int) -> int: ...


def referring(machine: str, pointer_bits: int) -> Callable[[], Referring]:
    """Makes one for a function of an architecture."""
    if machine.startswith("aarch64") or (machine.startswith("armv") and pointer_bits == 64):
        return _Arm64
    if machine.startswith("armv"):
        return _Arm
    if machine.startswith("riscv"):
        return _Riscv
    return _X86


def _int(text: str) -> int:
    return int(text, 0)


class _X86:
    def __call__(self, mnemonic: str, operands: str, address: int) -> int:
        """Targets of calls and jumps are absolute in the text; movabs has all 64 bits."""
        if mnemonic == "movabs":
            match = re.fullmatch(rf"\w+, {_NUMBER}", operands)
            value = _int(match[1]) & _MASK64 if match else 0
            return value if value >> 32 else 0
        if mnemonic == "call" or mnemonic.startswith("j"):
            return _int(operands) if re.fullmatch(_NUMBER, operands) else 0
        if mnemonic == "mov":
            # Addresses of the kernel's image fit 32 bits with sign.
            match = re.fullmatch(rf"r\w+, {_NUMBER}", operands)
            value = _int(match[1]) & _MASK64 if match else 0
            return value if value >> 31 == 2**33 - 1 and value < _MASK64 - 2**20 else 0
        return 0


class _Arm64:
    def __init__(self) -> None:
        self._registers: dict[str, int] = {}

    def __call__(self, mnemonic: str, operands: str, address: int) -> int:
        if mnemonic in ("bl", "b") or mnemonic.startswith(("b.", "cb", "tb")):
            match = re.search(rf"#{_NUMBER}$", operands)
            return _int(match[1]) & _MASK64 if match else 0
        if mnemonic in ("blr", "br"):
            return self._registers.get(operands, 0)
        if mnemonic == "mov" or mnemonic == "movn" or mnemonic == "movz":
            return self._move(mnemonic, operands)
        if mnemonic == "movk":
            match = re.fullmatch(rf"(\w+), #{_NUMBER}(?:, lsl #{_NUMBER})?", operands)
            if match and match[1] in self._registers:
                shift = _int(match[3] or "0")
                value = self._registers[match[1]] & ~(0xFFFF << shift) & _MASK64
                self._registers[match[1]] = value | _int(match[2]) << shift
            return 0
        if mnemonic in ("adr", "adrp"):
            match = re.fullmatch(rf"(\w+), #{_NUMBER}", operands)
            return _int(match[2]) & _MASK64 if match else 0
        self._registers.pop(operands.partition(",")[0], None)
        return 0

    def _move(self, mnemonic: str, operands: str) -> int:
        match = re.fullmatch(rf"(\w+), #{_NUMBER}(?:, lsl #{_NUMBER})?", operands)
        if match is None:
            self._registers.pop(operands.partition(",")[0], None)
            return 0
        value = _int(match[2]) << _int(match[3] or "0")
        self._registers[match[1]] = (~value if mnemonic == "movn" else value) & _MASK64
        return 0


class _Arm:
    def __init__(self) -> None:
        self._registers: dict[str, int] = {}

    def __call__(self, mnemonic: str, operands: str, address: int) -> int:
        if mnemonic in ("blx", "bx") and operands in self._registers:
            return self._registers[operands]
        if mnemonic in ("b", "bl") or re.fullmatch(r"bl?(eq|ne|[cghlmpv][a-z])", mnemonic):
            match = re.fullmatch(rf"#{_NUMBER}", operands)
            return _int(match[1]) & 0xFFFFFFFF if match else 0
        match = re.fullmatch(rf"(\w+), #{_NUMBER}", operands)
        if match and mnemonic in ("movw", "mov"):
            self._registers[match[1]] = _int(match[2]) & 0xFFFFFFFF
        elif match and mnemonic == "movt":
            low = self._registers.get(match[1], 0) & 0xFFFF
            self._registers[match[1]] = low | _int(match[2]) << 16
        else:
            self._registers.pop(operands.partition(",")[0], None)
        return 0


class _Riscv:
    def __init__(self) -> None:
        self._registers: dict[str, int] = {}

    def __call__(self, mnemonic: str, operands: str, address: int) -> int:
        parts = [part.strip() for part in operands.split(",")]
        match (mnemonic.removeprefix("c."), parts):
            case ("auipc", [register, number]):
                self._registers[register] = address + _upper(number) & _MASK64
            case ("lui", [register, number]):
                self._registers[register] = _upper(number) & _MASK64
            case ("addi" | "addiw", [register, source, number]) if source in self._registers:
                self._registers[register] = self._registers[source] + _int(number) & _MASK64
            case ("jalr", [_, place]):
                return self._far(place)
            case ("jalr", [_, source, number]) if source in self._registers:
                return self._registers[source] + _int(number) & _MASK64
            case ("jalr" | "jr", [source]):
                return self._far(source)
            case ("jal", [_, number]) | ("jal" | "j", [number]):
                return address + _int(number) & _MASK64 if _is_number(number) else 0
            case ("beq" | "bne" | "blt" | "bge" | "bltu" | "bgeu", [_, _, number]) | (
                "beqz" | "bnez",
                [_, number],
            ):
                return address + _int(number) & _MASK64 if _is_number(number) else 0
            case _:
                self._registers.pop(parts[0], None)
        return 0

    def _far(self, place: str) -> int:
        """`imm(register)` or a register that holds an address."""
        match = re.fullmatch(rf"(?:{_NUMBER}\()?(\w+)\)?", place)
        if match is None or match[2] not in self._registers:
            return 0
        return self._registers[match[2]] + _int(match[1] or "0") & _MASK64


def _is_number(text: str) -> bool:
    return re.fullmatch(_NUMBER, text) is not None


def _upper(text: str) -> int:
    """The 20 bits of lui and auipc, with sign, in place."""
    value = _int(text) & 0xFFFFF
    return (value - (1 << 20) if value >> 19 else value) << 12
