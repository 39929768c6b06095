# SPDX-License-Identifier: Apache-2.0
"""Why BTF of a kernel cannot be had."""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.errors import BpfctlError


@dataclass
class KernelBtfError(BpfctlError):
    """There is no way from this file or place to BTF; `hint` says what to do."""

    why: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.why}; {self.hint}" if self.hint else self.why
