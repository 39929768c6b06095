# SPDX-License-Identifier: Apache-2.0
"""A profile: stacks of a target and how much was seen in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bpfctl.symbols.frame import Frame

__all__ = ["Frame", "Profile", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One stack of one process (or thread, or name), with all that was seen in it."""

    stack: tuple[Frame, ...]
    """The root first; inlined functions stand behind the function they are in."""
    value: int
    """In the profile's `unit`."""
    pid: int = 0
    """0: not told apart."""
    tid: int = 0
    """0: not told apart."""
    comm: str = ""
    """Name of the process or thread."""


@dataclass
class Profile:
    """Samples with what is to be said about them."""

    samples: list[Sample]
    unit: str = "samples"
    """"samples", "nanoseconds", "bytes", ... of `Sample.value`."""
    period: int = 0
    """Nanoseconds between two samples; in other units the step of a value; 0: not known."""
    duration_s: float = 0.0
    started: datetime | None = None
    missed: Mapping[str, int] = field(default_factory=dict)
    """What is not in the samples or not whole: how often, by reason."""
    target: str = ""
    title: str = ""
    build_ids: Mapping[str, str] = field(default_factory=dict)
    """In hexadecimal, by `Frame.module`; of those that are known."""

    @property
    def total(self) -> int:
        """The sum of all values."""
        return sum(sample.value for sample in self.samples)
