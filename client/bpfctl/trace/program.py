# SPDX-License-Identifier: Apache-2.0
"""What is to be generated: the hook with its arguments, and what a user wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .registers import Place
from .values import CType

Hook = Literal[
    "kprobe", "kprobe.multi", "fentry", "tracepoint", "raw_tp", "uprobe", "uprobe.multi"
]
NOWHERE = Place()
Mode = Literal["events", "count", "hist"]


@dataclass(frozen=True)
class Parameter:
    """An argument of a function, or a field of a tracepoint."""

    name: str
    type: CType
    place: Place
    """A C expression over `ctx`, or why it cannot be read."""
    default: bool = True
    """Shown where nobody says which ones."""


@dataclass(frozen=True)
class Probe:
    """Where the program goes, and what it finds there."""

    hook: Hook
    functions: tuple[str, ...]
    """What is traced; an event has the index in it where there are several."""
    context: str = ""
    """Declaration of what `ctx` points to; empty: an array of __u64, or nothing is read."""
    context_type: str = "void *"
    parameters: tuple[Parameter, ...] = ()
    result: CType | None = None
    """None: unknown, or nothing is returned."""
    result_place: Place = NOWHERE
    pointer_size: int = 8
    caller: str = ""
    """Convention.caller, of user functions."""
    declaration: str = ""
    """The function as C declares it, for people."""

    @property
    def user(self) -> bool:
        """Whether addresses are those of a process."""
        return self.hook.startswith("uprobe")

    @property
    def has_return(self) -> bool:
        """Whether it is a function, which returns."""
        return self.hook not in ("tracepoint", "raw_tp")


@dataclass(frozen=True)
class Wanted:
    """What is to be seen of it."""

    mode: Mode = "events"
    arguments: Sequence[str] | None = None
    """Expressions, NAME=EXPRESSION; None: what the probe shows by default."""
    condition: str = ""
    histogram: str = ""
    """The expression that is counted by its value."""
    step: int = 0
    """Width of a slot of the histogram; 0: powers of two."""
    returns: bool = False
    stack: bool = False
    pid: int = 0
    comm: str = ""
    cgroup: tuple[int, int] | None = None
    """(id, depth below the root of the hierarchy), those below it too."""
    ring_bytes: int = 1 << 20
