# SPDX-License-Identifier: Apache-2.0
"""What the last lines of a verifier log say in numbers. Pure."""

from __future__ import annotations

import re

from bpfd.kernel.load_options import ProgramLog
from bpfd.v1 import objects_pb2

_PROCESSED = re.compile(
    r"^processed (\d+) insns .*max_states_per_insn (\d+) total_states (\d+)"
    r" peak_states (\d+) mark_read (\d+)",
    re.MULTILINE,
)
_TIME = re.compile(r"^verification time (\d+) usec", re.MULTILINE)
_STACK = re.compile(r"^stack depth ([\d+]+)", re.MULTILINE)


def statistics(log: str) -> objects_pb2.VerifierStatistics:
    """Figures of a log; 0 for what it does not say.

    The lines are those of print_verification_stats() in kernel/bpf/verifier.c.
    """
    found = objects_pb2.VerifierStatistics()
    if match := _PROCESSED.search(log):
        numbers = [int(each) for each in match.groups()]
        found.processed_insns, found.max_states_per_insn, found.total_states = numbers[:3]
        found.peak_states, found.mark_read = numbers[3:]
    if match := _TIME.search(log):
        found.time.FromMicroseconds(int(match[1]))
    if match := _STACK.search(log):
        found.stack_depth.extend(int(each) for each in match[1].split("+") if each)
    return found


def message(log: ProgramLog) -> objects_pb2.ProgramLog:
    """A program's log as the API shows it."""
    return objects_pb2.ProgramLog(
        program=log.program,
        log=log.log,
        truncated=log.truncated,
        statistics=statistics(log.log),
    )
