# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a bundle."""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.errors import BpfctlError


@dataclass
class BundleError(BpfctlError):
    """The bundle cannot be built; `hint` says what to do."""

    why: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.why}; {self.hint}" if self.hint else self.why
