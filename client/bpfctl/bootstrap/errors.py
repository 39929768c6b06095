# SPDX-License-Identifier: Apache-2.0
"""What can keep a daemon from being put on a target, or taken off it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class BootstrapFailed(Exception):
    """A step did not work; the target is as it was before, unless the text says otherwise."""

    target: str
    why: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"target {self.target}: {self.why}"
        return f"{text}; {self.hint}" if self.hint else text
