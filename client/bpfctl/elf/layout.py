# SPDX-License-Identifier: Apache-2.0
"""Where the functions that a program calls end up when libbpf has linked it.

libbpf walks the program's instructions in order; a function that is called, or whose
address is taken, is put at the end when it is met first, and then walked itself
(`bpf_object__reloc_code`). The verifier's log counts instructions in the result.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from . import container

if TYPE_CHECKING:
    from . import Function, ObjectFile

_CALL = 0x85
_LOAD_IMMEDIATE = 0x18
_PSEUDO_CALL = 1

_Relocations = dict[tuple[str, int], container.Symbol]


def layout(obj: ObjectFile, program: Function) -> tuple[tuple[int, Function], ...]:
    """See `ObjectFile.layout`."""
    elf = container.read(obj.data, len(obj.data))
    relocations = _relocations(elf)
    functions = (*obj.programs, *obj.subprograms)
    placed: list[tuple[int, Function]] = [(0, program)]
    total = program.instructions
    walk = [_targets(elf, relocations, program)]
    while walk:
        target = walk[-1].pop(0) if walk[-1] else None
        if target is None:
            walk.pop()
            continue
        function = _function(functions, *target)
        if function is None or any(function == there for _, there in placed):
            continue
        placed.append((total, function))
        total += function.instructions
        walk.append(_targets(elf, relocations, function))
    return tuple(placed)


def _relocations(elf: container.Container) -> _Relocations:
    order = ">" if elf.big_endian else "<"
    found: _Relocations = {}
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
    return found


def _targets(
    elf: container.Container, relocations: _Relocations, function: Function
) -> list[tuple[str, int]]:
    """(section, instruction) of each function that this one refers to, in order."""
    section = elf.section(function.section)
    if section is None:
        return []
    code = section.data[function.offset : function.offset + function.size]
    order = ">" if elf.big_endian else "<"
    found = []
    layout = struct.Struct(order + "BBhi")
    for index, (opcode, registers, _, immediate) in enumerate(
        layout.iter_unpack(code[: len(code) // 8 * 8])
    ):
        source = registers & 0xF if elf.big_endian else registers >> 4
        symbol = relocations.get((function.section, function.offset + index * 8))
        if opcode == _CALL and source == _PSEUDO_CALL:
            if symbol is None:
                found.append((function.section, function.start + index + immediate + 1))
            else:
                found.append((symbol.section.name, symbol.offset // 8 + immediate + 1))
        elif opcode == _LOAD_IMMEDIATE and symbol is not None and symbol.section.executable:
            found.append((symbol.section.name, symbol.offset // 8 + immediate // 8))
    return found


def _function(
    functions: tuple[Function, ...], section: str, instruction: int
) -> Function | None:
    return next(
        (
            function
            for function in functions
            if function.section == section and function.start == instruction
        ),
        None,
    )
