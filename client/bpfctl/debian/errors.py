# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with Debian's archive."""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.errors import BpfctlError


@dataclass
class ArchiveError(BpfctlError):
    """Packages cannot be had; `hint` says what to do."""

    why: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.why}; {self.hint}" if self.hint else self.why
