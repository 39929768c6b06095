# SPDX-License-Identifier: Apache-2.0
"""Instructions of an object, and where functions end up when libbpf has linked a program.

libbpf walks the program's instructions in order; a function that is called, or whose
address is taken, is put at the end when it is met first, and then walked itself
(`bpf_object__reloc_code`). The verifier's log counts instructions in the result.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import container

if TYPE_CHECKING:
    from . import Function, ObjectFile

CALL = 0x85
LOAD_IMMEDIATE = 0x18
PSEUDO_CALL = 1


@dataclass(frozen=True, slots=True)
class Instruction:
    """struct bpf_insn, and the symbol that its relocation names."""

    opcode: int
    destination: int
    source: int
    offset: int
    immediate: int
    symbol: container.Symbol | container.Undefined | None


class Code:
    """The instructions of an object, read once."""

    def __init__(self, obj: ObjectFile) -> None:
        self._elf = container.read(obj.data, len(obj.data))
        self._functions = (*obj.programs, *obj.subprograms)
        self._relocations = _relocations(self._elf)

    def instructions(self, function: Function) -> Iterator[Instruction]:
        """Those of one function; the second half of a 16-byte load counts, too."""
        section = self._elf.section(function.section)
        if section is None:
            return
        code = section.data[function.offset : function.offset + function.size]
        layout = struct.Struct((">" if self._elf.big_endian else "<") + "BBhi")
        for index, (opcode, registers, offset, immediate) in enumerate(
            layout.iter_unpack(code[: len(code) // 8 * 8])
        ):
            low, high = registers & 0xF, registers >> 4
            if self._elf.big_endian:
                low, high = high, low
            symbol = self._relocations.get((function.section, function.offset + index * 8))
            yield Instruction(opcode, low, high, offset, immediate, symbol)

    def layout(self, program: Function) -> tuple[tuple[int, Function], ...]:
        """See `ObjectFile.layout`."""
        placed: list[tuple[int, Function]] = [(0, program)]
        total = program.instructions
        walk = [self._targets(program)]
        while walk:
            target = walk[-1].pop(0) if walk[-1] else None
            if target is None:
                walk.pop()
                continue
            function = self._function(*target)
            if function is None or any(function == there for _, there in placed):
                continue
            placed.append((total, function))
            total += function.instructions
            walk.append(self._targets(function))
        return tuple(placed)

    def _targets(self, function: Function) -> list[tuple[str, int]]:
        """(section, instruction) of each function that this one refers to, in order."""
        found = []
        for index, item in enumerate(self.instructions(function)):
            symbol = item.symbol
            if isinstance(symbol, container.Undefined):
                continue
            if item.opcode == CALL and item.source == PSEUDO_CALL:
                if symbol is None:
                    place = function.start + index + item.immediate + 1
                    found.append((function.section, place))
                else:
                    place = symbol.offset // 8 + item.immediate + 1
                    found.append((symbol.section.name, place))
            elif item.opcode == LOAD_IMMEDIATE and symbol and symbol.section.executable:
                place = symbol.offset // 8 + item.immediate // 8
                found.append((symbol.section.name, place))
        return found

    def _function(self, section: str, instruction: int) -> Function | None:
        return next(
            (
                function
                for function in self._functions
                if function.section == section and function.start == instruction
            ),
            None,
        )


def layout(obj: ObjectFile, program: Function) -> tuple[tuple[int, Function], ...]:
    """See `ObjectFile.layout`."""
    return Code(obj).layout(program)


def _relocations(
    elf: container.Container,
) -> dict[tuple[str, int], container.Symbol | container.Undefined]:
    order = ">" if elf.big_endian else "<"
    found: dict[tuple[str, int], container.Symbol | container.Undefined] = {}
    for section in elf.sections:
        if section.type != "SHT_REL" or section.info >= len(elf.sections):
            continue
        target = elf.sections[section.info].name
        whole = section.data[: len(section.data) // 16 * 16]
        for offset, info in struct.iter_unpack(order + "QQ", whole):
            index = info >> 32
            symbol = elf.symbol_table[index] if index < len(elf.symbol_table) else None
            if symbol is not None:
                found[target, offset] = symbol
            elif index in elf.undefined:
                found[target, offset] = elf.undefined[index]
    return found
