# SPDX-License-Identifier: Apache-2.0
"""What the verifier counted, as rows that can be kept and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfctl.elf import ObjectFile
    from bpfd.v1 import objects_pb2

Row = dict[str, Any]

ACCEPTED, REFUSED, UNTRIED = "accepted", "refused", "untried"
"""Verdicts; untried: something else than the verifier kept the program from being loaded."""

METRICS = {
    "processed_insns": "instructions that the verifier walked through",
    "total_states": "states that it kept while it did",
    "peak_states": "most states at a time",
    "max_states_per_insn": "most states at one instruction",
    "mark_read": "longest chain of states that a read was noted in",
    "stack_bytes": "stack of the program and its functions, added up",
    "size_insns": "instructions of the program and its functions",
    "bytes_xlated": "bytes of the translated code",
    "bytes_jited": "bytes of the machine code",
    "time_us": "time of the verifier, which differs from run to run",
}
"""Figures of a row and what they mean; None: the kernel did not say."""

HEADINGS = {
    "processed_insns": "insns",
    "total_states": "states",
    "peak_states": "peak",
    "max_states_per_insn": "max/insn",
    "mark_read": "mark_read",
    "stack_bytes": "stack",
    "size_insns": "size",
    "bytes_jited": "jited",
    "time_us": "time_us",
}
"""Names of the figures that tables have."""


def row(program: objects_pb2.VerifiedProgram, parsed: ObjectFile | None, name: str) -> Row:
    """The figures of one program of the object `name`."""
    from bpfctl.listing import attach_type, program_type

    said = program.log.statistics
    entry = parsed.program(program.log.program) if parsed else None
    spoken = said.processed_insns > 0
    found: Row = {
        "object": name,
        "program": program.log.program,
        "verdict": verdict(program),
        "type": program_type(program.type) if program.type else None,
        "attach_type": attach_type(program.expected_attach_type) if program.type else None,
        "section": entry.section if entry else None,
        "processed_insns": said.processed_insns or None,
        "total_states": said.total_states if spoken else None,
        "peak_states": said.peak_states if spoken else None,
        "max_states_per_insn": said.max_states_per_insn if spoken else None,
        "mark_read": said.mark_read if spoken else None,
        "stack_bytes": sum(said.stack_depth) if said.stack_depth else None,
        "stack_depth": list(said.stack_depth),
        "size_insns": _instructions(parsed, program.log.program),
        "bytes_xlated": program.bytes_xlated or None,
        "bytes_jited": program.bytes_jited or None,
        "time_us": said.time.ToMicroseconds() if said.HasField("time") else None,
    }
    if program.errno:
        found["errno"] = program.errno
    return found


def verdict(program: objects_pb2.VerifiedProgram) -> str:
    """ACCEPTED, REFUSED or UNTRIED."""
    if program.HasField("error"):
        return UNTRIED
    return ACCEPTED if program.accepted else REFUSED


def _instructions(parsed: ObjectFile | None, name: str) -> int | None:
    entry = parsed.program(name) if parsed else None
    if parsed is None or entry is None:
        return None
    try:
        return sum(function.instructions for _, function in parsed.layout(entry))
    except ValueError:  # a damaged object
        return None


def for_table(found: Row) -> Row:
    """The same with short names, for people."""
    short: Row = {heading: found[metric] for metric, heading in HEADINGS.items()}
    short["stack"] = "+".join(map(str, found["stack_depth"]))
    kept: Row = {key: found[key] for key in ("target", "object", "program") if key in found}
    return kept | {"verdict": found["verdict"]} | short
