# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfctl.visible.tree import drawn


def test_branches() -> None:
    lines = [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (1, "e"), (2, "f"), (0, "g"), (1, "h")]
    assert list(drawn(lines)) == [
        "a",
        "├─ b",
        "│  └─ c",
        "│     └─ d",
        "└─ e",
        "   └─ f",
        "g",
        "└─ h",
    ]


def test_nothing() -> None:
    assert list(drawn([])) == []
