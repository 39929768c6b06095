# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.profiles import amounts, tree

from tests.unit.bpfctl.profiles import made


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "nanoseconds", "0 nanoseconds"),
        (999, "nanoseconds", "999 ns"),
        (1_234_567_890, "nanoseconds", "1.235 s"),
        (12_500, "nanoseconds", "12.5 us"),
        (1023, "bytes", "1,023 bytes"),
        (3 << 19, "bytes", "1.5 MiB"),
        (12345, "samples", "12,345 samples"),
    ],
)
def test_amounts(value: int, unit: str, text: str) -> None:
    assert amounts.amount(value, unit) == text


def test_what_is_said_of_a_profile() -> None:
    graph = tree.of(made.small())
    assert amounts.facts(graph) == [
        "target board",
        "started 2026-03-01 12:00:00 UTC",
        "2.5 s",
        "100 samples",
    ]
    assert amounts.missed(graph) == "Missed: 3 stacks found no room."
    graph.missed = {"stacks": 0}
    assert amounts.missed(graph) == ""
    assert amounts.share(1, 0) == "0.00 %"
