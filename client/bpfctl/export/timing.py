# SPDX-License-Identifier: Apache-2.0
"""What fields of a record say of its time and its thread, by their formats and names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from bpfctl.btf.columns import load
from bpfctl.btf.composites import StructNode
from bpfctl.btf.nodes import BytesLeaf, IntegerLeaf
from bpfctl.btf.roles import Duration, Enumeration

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array

_TIME = re.compile(r"(?:.*_)?(?:ts|tstamp|timestamp|time|ktime|when|start|end|begin)(?:_?ns)?")
_START = re.compile(r".*(?:start|begin|enter|entry).*")
_DURATION = re.compile(
    r"(?:.*_)?(?:dur|duration|delta|latency|lat|elapsed|took|runtime|wait|life(?:time)?)"
    r"(?:_?(ns|us|ms|usecs?|msecs?))?"
)
_UNITS = {"": 1, "ns": 1, "us": 1000, "usec": 1000, "usecs": 1000}
_MILLISECONDS = 10**6
_RECENT_NS = 3600 * 10**9
"""How old a record may be when it arrives, for a clock to be believed."""


class Clock(IntEnum):
    """Clocks by their numbers in Perfetto's ClockSnapshot."""

    REALTIME = 1
    MONOTONIC = 3
    BOOTTIME = 6


@dataclass(frozen=True)
class Epochs:
    """Real time (ns since 1970) at which the target's clocks showed 0."""

    monotonic: int
    boottime: int

    def of(self, clock: Clock) -> int:
        """The epoch of a clock."""
        if clock is Clock.REALTIME:
            return 0
        return self.monotonic if clock is Clock.MONOTONIC else self.boottime

    def clock_of(self, value: int, read_at: int) -> Clock | None:
        """The clock that showed `value` shortly before `read_at`; None: none did."""
        for clock in (Clock.MONOTONIC, Clock.BOOTTIME, Clock.REALTIME):
            # The two may be read a moment apart.
            if -(10**9) <= read_at - (self.of(clock) + value) <= _RECENT_NS:
                return clock
        return None


@dataclass(frozen=True)
class _Place:
    name: str
    leaf: IntegerLeaf
    offset: int
    scale: int = 1

    def values(self, array: Array) -> list[int]:
        found: list[int] = load(self.leaf, array, self.offset).tolist()
        return found if self.scale == 1 else [value * self.scale for value in found]


@dataclass(frozen=True)
class Meaning:
    """Fields of the outermost struct that say when, how long, and in which thread."""

    time: _Place | None = None
    end: _Place | None = None
    """Where `time` is a start and there is no duration."""
    duration: _Place | None = None
    process: _Place | None = None
    thread: _Place | None = None
    comm: str = ""

    @property
    def begins(self) -> bool:
        """Whether `time` is when it began, not when it was over."""
        return self.time is not None and bool(_START.fullmatch(self.time.name.lower()))

    @property
    def names(self) -> frozenset[str]:
        """The fields that are told by the places of an event, not among its arguments."""
        places = (self.time, self.end, self.duration, self.process, self.thread)
        return frozenset([place.name for place in places if place] + [self.comm])


def meaning(codec: Codec) -> Meaning:
    """What the fields of a type mean; of a type that is no struct, nothing."""
    places = list(_places(codec))
    by_name = {place.name.lower(): place for place in places}
    times = [place for place in places if _is_time(place)]
    end = None
    starts = [place for place in times if _START.fullmatch(place.name.lower())]
    time = next((place for place in times if place not in starts), None)
    duration = _duration(places)
    if starts and duration is None and time is not None:
        time, end = starts[0], time
    elif time is None and starts:
        time = starts[0]
    process = by_name.get("tgid") or by_name.get("pid")
    thread = by_name.get("tid") or (by_name.get("pid") if "tgid" in by_name else None)
    return Meaning(time, end, duration, process, thread, _comm(codec))


def _places(codec: Codec) -> Iterator[_Place]:
    if isinstance(codec.node, StructNode):
        for field in codec.node.fields:
            node = field.node
            if (
                isinstance(node, IntegerLeaf)
                and node.size in (4, 8)
                and not isinstance(node.role, Enumeration)
            ):
                yield _Place(field.name, node, field.offset)


def _is_time(place: _Place) -> bool:
    role = place.leaf.role
    if isinstance(role, Duration):
        return role.clock
    return place.leaf.size == 8 and bool(_TIME.fullmatch(place.name.lower()))


def _duration(places: list[_Place]) -> _Place | None:
    for place in places:
        role = place.leaf.role
        if isinstance(role, Duration) and not role.clock:
            return place
    for place in places:
        if found := _DURATION.fullmatch(place.name.lower()):
            scale = _UNITS.get(found[1] or "", _MILLISECONDS)
            return _Place(place.name, place.leaf, place.offset, scale)
    return None


def _comm(codec: Codec) -> str:
    if isinstance(codec.node, StructNode):
        for field in codec.node.fields:
            if field.name in ("comm", "task", "command") and isinstance(field.node, BytesLeaf):
                return field.name
    return ""


__all__ = ["Clock", "Epochs", "Meaning", "meaning"]
