# SPDX-License-Identifier: Apache-2.0
"""Code as text for people: functions, source lines between instructions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from .jumps import Gutter
from .machine import MachineCode, MachineFunction
from .program import Function, Line, Program
from .text import render


def translated(
    program: Program,
    functions: Iterable[Function] | None = None,
    *,
    source: bool = True,
    opcodes: bool = False,
    jumps: bool = False,
) -> Iterator[str]:
    """Lines of text for functions of a program (None: all); `jumps`: drawn beside them."""
    chosen = list(program.functions if functions is None else functions)
    for number, function in enumerate(chosen):
        if number:
            yield ""
        yield heading(function)
        shown: Line | None = None
        instructions = program.code_of(function)
        gutter = Gutter(instructions if jumps else ())
        for each in instructions:
            if source and (program.starts_line(each.index) or each.index == function.start):
                line = program.line(each.index)
                if line is not None and not same_place(line, shown):
                    yield gutter.above(each.index) + source_line(line, shown)
                shown = line or shown
            code = f"{spaced(each.raw):<48}  " if opcodes else ""
            variable = program.variable(each)
            comment = f"  ; &{variable}" if variable else ""
            lanes = gutter.at(each.index)
            yield f"{lanes}{each.index:>6}: {code}{render(each, program)}{comment}"


def machine(
    code: MachineCode,
    functions: Iterable[MachineFunction] | None = None,
    *,
    source: bool = True,
    opcodes: bool = False,
) -> Iterator[str]:
    """Lines of text for functions of jited code (None: all); NotSupported for some CPUs."""
    for number, function in enumerate(code.functions if functions is None else functions):
        if number:
            yield ""
        size = len(function.code)
        where = f" at {function.address:#x}" if function.address else ""
        yield f"{function.prototype}: {size} bytes{where}"
        shown: Line | None = None
        for each in code.disassemble(function):
            line = code.line(function, each.address) if source else None
            if line is not None and not same_place(line, shown):
                yield source_line(line, shown)
            shown = line or shown
            raw = f"{spaced(each.raw):<32}  " if opcodes else ""
            name = code.name_of(each.refers)
            comment = f"  ; {name}" if name else ""
            text = f"{each.mnemonic:<8}{each.operands}".rstrip()
            yield f"{each.address - function.address:>6x}: {raw}{text}{comment}"


def same_place(line: Line, other: Line | None) -> bool:
    """Both are of one line of a file; columns change with every other instruction."""
    return other is not None and (line.file, line.line) == (other.file, other.line)


def heading(function: Function) -> str:
    """The line above a function's code."""
    where = f" at {function.address:#x}" if function.address else ""
    return f"{function.prototype}: instructions {function.start}-{function.end - 1}{where}"


def source_line(line: Line, before: Line | None) -> str:
    """A source line; with its file's name where that is another one than `before`."""
    file = ""
    if line.file and (before is None or line.file != before.file):
        file = f"{os.path.basename(line.file)}:"
    place = f"{file}{line.line}" if line.line else file.rstrip(":")
    return f"; {place}: {line.text.strip()}" if place else f"; {line.text.strip()}"


def spaced(raw: bytes) -> str:
    """Bytes in hexadecimal with a space between."""
    return raw.hex(" ")
