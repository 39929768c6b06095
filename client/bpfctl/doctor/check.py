# SPDX-License-Identifier: Apache-2.0
"""One line of a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what helps."""

    group: str
    check: str
    status: Status
    reason: str
    """What was found, and what follows from it."""
    remedy: str = ""
    """What to do; empty: nothing is to be done, or nothing can be."""
    essential: bool = False
    """Where it is missing, the target is of no use."""

    def row(self) -> dict[str, object]:
        """For output."""
        return {
            "group": self.group,
            "check": self.check,
            "status": self.status,
            "reason": self.reason,
            "remedy": self.remedy,
            "essential": self.essential,
        }


def usable(checks: Iterable[Check]) -> bool:
    """Whether nothing that is essential is missing."""
    return not any(check.essential and check.status == "missing" for check in checks)
