# SPDX-License-Identifier: Apache-2.0
"""A verifier's refusal as a compiler would say it: file, line, source text, last words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .advice import advise, core_advice, core_target, is_core_failure
from .log import Ending, read_ending
from .render import render

if TYPE_CHECKING:
    from bpfctl.elf import Function, ObjectFile
    from bpfctl.elf.debug import Line

__all__ = ["Diagnostic", "explain", "render"]


@dataclass(frozen=True)
class Diagnostic:
    """What the verifier refused, and where that is in the source."""

    program: str
    function: str
    """Where it happened: the program, or a function that it calls."""
    file: str
    """As the compiler was told; empty: not known."""
    line: int
    """From 1; 0: not known."""
    column: int
    """From 1; 0: not known."""
    source_text: str
    """The source line, with its indent where that is known."""
    message: str
    """The verifier's reason in one line."""
    context_lines: tuple[str, ...]
    """The end of the log, from the source line on, without its statistics."""
    instruction: int
    """Index in the loaded program; -1: not known."""
    advice: str
    """One line; empty: nothing is known."""
    log: str


def explain(
    program: str,
    log: str,
    obj: ObjectFile | None = None,
    source_root: Path | None = None,
    *,
    errno: int = 0,
) -> Diagnostic:
    """What a verifier's log says, with its place in the source.

    The place comes from the log (kernel 6.9 and newer name file and line), else from the
    object's line info by the index of the instruction, functions in .text included, else
    by the source text in the log. `source_root` is the folder that relative file names
    start from; `errno` is said when the log is empty. Never raises for any log.
    """
    ending = read_ending(log)
    reasons = ending.reasons
    function, line = program, None
    advice = advise(reasons, log)
    message = "; ".join(reasons) or (os.strerror(errno) if errno else "it gave no reason")
    missing = is_core_failure("\n".join((*ending.words, *reasons)))
    what = core_target(reasons)
    if obj is not None:
        try:
            function, line = _place(program, ending, obj)
            if missing:
                field, wanted = _core(program, ending, obj)
                what, line = field or what, wanted or line
        except ValueError:  # a damaged object: the log alone must do
            line = None
    if missing:
        what = re.sub(r"___\w+", "", what)
        advice = core_advice(what)
        message = f"the target's kernel has no {what}" if what else message
    if line is None:
        file, number, column, text = ending.file, ending.line, 0, ending.text
    else:
        file, number, column, text = line.file, line.line, line.column, line.text
    file = _shown(file, source_root)
    if not text and file and number:
        text = _source_line(file, number, source_root)
    return Diagnostic(
        program=program,
        function=function,
        file=file,
        line=number,
        column=column,
        source_text=text,
        message=message,
        context_lines=ending.words,
        instruction=ending.instruction,
        advice=advice,
        log=log,
    )


def _place(program: str, ending: Ending, obj: ObjectFile) -> tuple[str, Line | None]:
    """(function, line) of the last instruction of the log."""
    entry = obj.program(program)
    if entry is None:
        return program, None
    if ending.instruction < 0:
        return program, _first_line(entry, obj)
    place = next(
        (
            (function, ending.instruction - start)
            for start, function in obj.layout(entry)
            if start <= ending.instruction < start + function.instructions
        ),
        None,
    )
    if place is not None:
        function, index = place
        line = obj.line_at(function.section, function.start + index)
        if line is not None and line.line and _agrees(line, ending):
            return function.name, line
    functions = [function for _, function in obj.layout(entry)]
    for function in functions:
        for line in _lines(function, obj):
            if line.line and (ending.text or ending.line) and _agrees(line, ending):
                return function.name, line
    return program, None


def _agrees(line: Line, ending: Ending) -> bool:
    """Whether a line of the object may be the one that the log names."""
    if ending.line:
        same = line.file.rpartition("/")[2] == ending.file
        return same and line.line == ending.line
    return not ending.text or line.text.strip() == ending.text


def _lines(function: Function, obj: ObjectFile) -> list[Line]:
    end = function.start + function.instructions
    return [
        line
        for line in obj.lines.get(function.section, ())
        if function.start <= line.instruction < end
    ]


def _first_line(function: Function, obj: ObjectFile) -> Line | None:
    return next((line for line in _lines(function, obj) if line.line), None)


def _core(program: str, ending: Ending, obj: ObjectFile) -> tuple[str, Line | None]:
    """(what is missing, the source line that wants it) of a CO-RE relocation."""
    entry = obj.program(program)
    for start, function in obj.layout(entry) if entry else ():
        index = ending.instruction - start + function.start
        if not start <= ending.instruction < start + function.instructions:
            continue
        for relocation in obj.core_relocations.get(function.section, ()):
            if relocation.instruction != index:
                continue
            field = relocation.what.rpartition(".")[2]
            lines = [line for line in _lines(function, obj) if field in line.text]
            lines.sort(key=lambda line: abs(line.instruction - index))
            return relocation.what, lines[0] if lines else None
    return "", None


def _shown(file: str, source_root: Path | None) -> str:
    """The file's path from here, where that is shorter."""
    if not os.path.isabs(file):
        return file
    here = os.path.abspath(source_root or os.curdir)
    if os.path.commonpath([file, here]) == here:
        return os.path.relpath(file, here)
    return file


def _source_line(file: str, number: int, source_root: Path | None) -> str:
    path = Path(source_root or os.curdir, file)
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[number - 1] if number <= len(lines) else ""
