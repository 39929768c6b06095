# SPDX-License-Identifier: Apache-2.0
"""Figures of the verifier's last lines."""

from __future__ import annotations

from bpfd.kernel.load_options import ProgramLog
from bpfd.objects import verifier_log

LOG = (
    "verification time 44 usec\nstack depth 16+8\nprocessed 23 insns (limit 1000000) "
    "max_states_per_insn 1 total_states 3 peak_states 2 mark_read 4\n"
)


def test_every_figure() -> None:
    found = verifier_log.statistics(LOG)
    assert found.processed_insns == 23
    assert found.max_states_per_insn == 1
    assert (found.total_states, found.peak_states, found.mark_read) == (3, 2, 4)
    assert list(found.stack_depth) == [16, 8]
    assert found.time.ToMicroseconds() == 44


def test_a_log_without_them() -> None:
    message = verifier_log.message(ProgramLog("x", "0: (95) exit\n", truncated=True))
    assert message.statistics == type(message.statistics)()
    assert message.truncated
