# SPDX-License-Identifier: Apache-2.0
"""What a run found, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass


class Deviation(Exception):
    """Something is not as it must be; the text says what."""


@dataclass
class Outcome:
    """The numbers of the last line, each read from where it was counted."""

    blocked: int = 0
    """Packets that the filter dropped, by its counters."""
    passed: int = 0
    """Packets that the filter passed, by its counters."""
    swapped_loss: int = 0
    """Packets of allowed senders that did not arrive while programs were exchanged."""
    events: int = 0
    """Events that arrived."""
    lost: int = 0
    """Events that did not."""
    left: int = 0
    """What was still there when all was removed."""

    def line(self) -> str:
        names = ("blocked", "passed", "swapped_loss", "events", "lost", "left")
        return "demo ok: " + " ".join(f"{name}={getattr(self, name)}" for name in names)


def expect(what: str, found: object, wanted: object) -> None:
    """Raise Deviation unless both are equal."""
    if found != wanted:
        raise Deviation(f"{what}: {found!r} in place of {wanted!r}")
