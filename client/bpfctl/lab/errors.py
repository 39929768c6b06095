# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with virtual boards."""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.errors import BpfctlError


@dataclass
class LabError(BpfctlError):
    """A board cannot be made, started or spoken to; `hint` says what to do."""

    why: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.why}; {self.hint}" if self.hint else self.why
