# SPDX-License-Identifier: Apache-2.0
"""Names of frames and processes, as formats can hold them."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from bpfctl.printable import printable
from bpfctl.profiles.model import Sample
from bpfctl.symbols.frame import JIT, Frame

Kind = Literal["process", "kernel", "user", "inlined", "jit"]

MARKS: dict[Kind, str] = {"kernel": "_[k]", "inlined": "_[i]", "jit": "_[j]"}
"""What flamegraph.pl colours by (its palettes "java" and "js")."""

_KINDS: dict[str, Kind] = {mark: kind for kind, mark in MARKS.items()}
_BEFORE_MARKS = re.compile(r"\s+((?:_\[[kij]\])+)$")
_NUMBER_LAST = re.compile(r"\s(\d+(?:\.\d*)?(?:_\[[kij]\])*)$")


class Function(NamedTuple):
    """What frames of a flame graph are told apart by."""

    name: str
    """On one line, never empty."""
    module: str
    kind: Kind


def kind(frame: Frame) -> Kind:
    """What a frame is coloured by; the kernel's inlined functions are the kernel's."""
    if frame.kind == "kernel":
        return "kernel"
    if frame.inlined:
        return "inlined"
    return "jit" if frame.module == JIT else "user"


def text(name: str) -> str:
    """A name on one line, with escapes for what does not print; "[unknown]" for none."""
    return printable(name).strip() or "[unknown]"


def function(frame: Frame) -> Function:
    return Function(text(frame.text), frame.module, kind(frame))


def process(sample: Sample) -> str:
    """Name of whose sample it is; threads that were told apart stay so. Empty: not known."""
    if sample.tid:
        return f"{text(sample.comm)}-{sample.pid}/{sample.tid}"
    return text(sample.comm) if sample.comm else ""


def folded(name: str) -> str:
    """A name as one part of a folded stack.

    Semicolons divide parts. A number behind the last space would be read as a value: two of
    them stand in differential profiles, so flamegraph.pl looks for a second one.
    """
    part = _BEFORE_MARKS.sub(r"\1", text(name).replace(";", ":"))
    return _NUMBER_LAST.sub(r"_\1", part)


def marked(frame: Frame) -> str:
    """A frame as one part of a folded stack, with the mark of its kind."""
    return folded(text(frame.text) + MARKS.get(kind(frame), ""))


def unmarked(part: str) -> Frame:
    """The frame of one part of a folded stack."""
    name, found = part[:-4], _KINDS.get(part[-4:])
    if not name or found is None:
        return Frame(part)
    if found == "kernel":
        return Frame(name, kind="kernel")
    return Frame(name, inlined=True) if found == "inlined" else Frame(name, JIT)
