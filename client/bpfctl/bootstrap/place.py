# SPDX-License-Identifier: Apache-2.0
"""Which folder of a target becomes a daemon's home."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import Facts, Place

MARGIN_BYTES = 2 << 20
"""Room for the daemon's log, notes and audit lines."""

MEMORY_BYTES = 32 << 20
"""What the daemon needs besides its files to start and load something: with 24 MiB the first
XDP program of a 32-bit board with 96 MiB ended in the kernel killing it for memory."""

_WORDS = {
    "absent": "would be in no folder",
    "read-only": "cannot be written",
    "full": "is full",
    "noexec": "is mounted so that nothing may run there (noexec)",
    "foreign": "belongs to another user",
    "occupied": "holds files that are not ours",
}


@dataclass(frozen=True)
class Choice:
    """A home to be, and how the bundle gets there."""

    path: str
    streamed: bool
    """Whether there is no room for the compressed bundle beside the unpacked one."""


def choose(
    target: str, facts: Facts, packed: int, unpacked: int, *, named: bool = False
) -> Choice:
    """The best place for a bundle of so many bytes; one that outlives reboots comes first.

    `named`: the user has said where; how much memory that takes is the user's decision.
    Raises BootstrapFailed, which says of each place why it is none.
    """
    if named:
        facts = replace(facts, memory=None)
    good = [place for place in facts.places if place.verdict == "good"]
    for passing in (False, True):
        for streamed in (False, True):
            needed = unpacked + MARGIN_BYTES + (0 if streamed else packed)
            for place in good:
                if place.passing == passing and _fits(place, facts, needed):
                    return Choice(place.path, streamed)
    needed = unpacked + MARGIN_BYTES
    reasons = ", ".join(
        f"{place.path} {_why_not(place, facts, needed)}"
        for place in facts.places
        if place.verdict != "absent"
    )
    raise BootstrapFailed(
        target,
        f"there is no place for {_mib(needed)}: {reasons}",
        "make room, or name a folder with --home",
    )


def streamed_to(target: str, facts: Facts, home: str, packed: int, unpacked: int) -> bool:
    """Whether a home that is there has room for one more bundle only unpacked as it comes.

    Raises BootstrapFailed when it has not even that.
    """
    free = next((place.free for place in facts.places if place.path == home), None)
    if free is None:
        return False
    needed = unpacked + MARGIN_BYTES
    if free < needed:
        raise BootstrapFailed(
            target,
            f"{home} has {_mib(free)} free, and another bundle needs {_mib(needed)}",
            "make room there",
        )
    return free < needed + packed


def _fits(place: Place, facts: Facts, needed: int) -> bool:
    if place.free is not None and place.free < needed:
        return False
    return not _starves(place, facts, needed)


def _starves(place: Place, facts: Facts, needed: int) -> bool:
    return place.in_memory and facts.memory is not None and facts.memory < needed + MEMORY_BYTES


def _why_not(place: Place, facts: Facts, needed: int) -> str:
    if place.verdict != "good":
        return _WORDS.get(place.verdict, "cannot be used")
    if place.free is not None and place.free < needed:
        return f"has {_mib(place.free)} free"
    return (
        f"is in memory, of which {_mib(facts.memory or 0)} are free and "
        f"{_mib(needed + MEMORY_BYTES)} needed"
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
