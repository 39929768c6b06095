# SPDX-License-Identifier: Apache-2.0
"""Reading a verifier log from its end: what it says last, and where it was.

The log is made for people and changes with every kernel; nothing here is needed to be
right for the log to be shown. Formats: kernel/bpf/verifier.c and kernel/bpf/log.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAIL_BYTES = 1 << 18
"""As much of the end is looked at; a log may have gigabytes."""

MAX_REASONS = 4

_INSTRUCTION = re.compile(r"(\d+): (?:\([0-9a-f]{2}\)|<)")
_NAMED = re.compile(r"\binsn (\d+)")
_COMMENT = re.compile(r"; (.*?)(?: @ ([^@]+?):(\d+))?$")
_SUMMARY = re.compile(
    r"processed \d+ insns|verification time |stack depth |insns processed|-- (?:BEGIN|END) "
    r"|max_states|libbpf: "
)
_STATE = re.compile(
    r"\s|\d+: |from \d+ to \d+|(?:caller|callee|returning from callee|to caller at \d+):?\s*"
    r"|(?:last_idx|first_idx|regs=|mark_precise|parent |propagating|func#\d|frame\s?\d+[: ])"
    r"|arg#\d+ (?:reference type|type )|R\d+(?:_[rwD]+)?=|Live regs before insn"
    r"|(?:cur|old) state: |Validating \S+ func#|Func#\d+ is safe|\(\d+ frames?\)|subprog|-{3,}"
)


@dataclass(frozen=True)
class Ending:
    """What the end of a log says."""

    reasons: tuple[str, ...]
    """The lines after the last instruction that say why; empty: there are none."""
    instruction: int
    """Index of the last instruction; -1: none is named."""
    text: str
    """Source text of that instruction as the log has it, without indent; empty: none."""
    file: str
    """File name, without folders; empty: kernels before 6.9 do not say."""
    line: int
    words: tuple[str, ...]
    """The last lines, from the last source line on."""


def read_ending(log: str) -> Ending:
    """Take the end of a log apart. Any text is taken; what is not there is empty."""
    lines = [line.rstrip() for line in log[-TAIL_BYTES:].splitlines()]
    lines = [line for line in lines if line.strip() and not _SUMMARY.match(line)]
    reasons: list[str] = []
    instruction, text, file, line_number = -1, "", "", 0
    start = len(lines)
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        if match := _INSTRUCTION.match(line):
            if instruction < 0:
                instruction = int(match[1])
                start = min(start, index)
        elif match := _COMMENT.match(line):
            text, file = match[1].strip(), (match[2] or "").rpartition("/")[2]
            line_number = int(match[3] or 0)
            start = index
            break
        elif _STATE.match(line):
            continue
        elif instruction < 0 and start == len(lines):
            reasons.insert(0, line.strip())
    if not reasons and lines and instruction < 0:
        reasons = [lines[-1].strip()]
    if instruction < 0:  # the check of the control flow comes before the walk
        found = [int(match[1]) for match in map(_NAMED.search, reasons) if match]
        instruction = found[0] if found else -1
    start = min(start, max(len(lines) - len(reasons), 0))
    return Ending(
        tuple(reasons[-MAX_REASONS:]),
        instruction,
        text,
        file,
        line_number,
        tuple(lines[start:]),
    )
