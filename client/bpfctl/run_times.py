# SPDX-License-Identifier: Apache-2.0
"""What programs cost while somebody looks: runs, time and CPU share of each interval."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.listing import program_type

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import common_pb2, programs_pb2

SortKey = Literal["cpu", "runs", "avg", "name"]
SORT_KEYS: tuple[SortKey, ...] = ("cpu", "runs", "avg", "name")

_PLACES_SECONDS = 30.0
"""Until the places of attachment are asked for anew though no program is new."""

_PLACES_SOONEST = 5.0
"""The same where there is one."""

_FEW = 16
"""New programs up to which each is asked for by itself."""


@dataclass(frozen=True)
class Load:
    """What one program did in one interval."""

    id: int
    seconds: float
    runs: int
    nanoseconds: int
    recursion_misses: int = 0

    @property
    def runs_per_second(self) -> float:
        return self.runs / self.seconds

    @property
    def average_ns(self) -> float:
        """Of one run; 0: there was none."""
        return self.nanoseconds / self.runs if self.runs else 0.0

    @property
    def cpu_percent(self) -> float:
        """Of one CPU: on four CPUs a program may take 400."""
        return self.nanoseconds / (self.seconds * 1e7)


@dataclass(frozen=True)
class Interval:
    """The time between two samples of the target."""

    seconds: float
    loads: Sequence[Load]

    @property
    def total(self) -> Load:
        """All programs together, with the id 0."""
        return Load(
            0,
            self.seconds,
            sum(load.runs for load in self.loads),
            sum(load.nanoseconds for load in self.loads),
            sum(load.recursion_misses for load in self.loads),
        )


def interval(
    before: programs_pb2.ProgramStats, after: programs_pb2.ProgramStats
) -> Interval | None:
    """What happened between two samples; None: no time has passed.

    A program that was not there before was loaded meanwhile, and has counted from 0. One
    that has gone is left out.
    """
    seconds = (after.taken_at_ns - before.taken_at_ns) / 1e9
    if seconds <= 0:
        return None
    known = {each.id: each for each in before.programs}
    loads = []
    for each in after.programs:
        old = known.get(each.id)
        loads.append(
            Load(
                each.id,
                seconds,
                each.run_count - (old.run_count if old else 0),
                each.run_time_ns - (old.run_time_ns if old else 0),
                each.recursion_misses - (old.recursion_misses if old else 0),
            )
        )
    return Interval(seconds, loads)


def watch(target: Target, seconds: float = 1.0) -> Generator[Interval, None, None]:
    """Interval after interval, without end; statistics are on in the target until the
    iterator is closed. The first comes after `seconds`."""
    from bpfd.v1 import programs_pb2

    rpc = target.rpc
    request = programs_pb2.EnableStatsRequest()
    request.interval.FromNanoseconds(round(seconds * 1e9))
    with rpc.stream(rpc.programs.EnableStats, request, "Programs.EnableStats") as stream:
        before = next(stream, None)
        for after in stream:
            found = interval(before, after) if before is not None else None
            before = after
            if found is not None:
                yield found


@dataclass(frozen=True)
class Described:
    """What a program is, for people."""

    id: int
    type: str = ""
    name: str = ""
    object: str = ""
    places: Sequence[str] = ()
    """Attach points as texts."""
    links: Sequence[str] = ()
    """Names of the daemon's links."""
    short_places: Sequence[str] = ()
    """The attach points without options."""


@dataclass
class Directory:
    """Names and places of programs. Only what is new is asked for: to list 200 programs and
    their links takes a daemon ten times as long as to read their run times."""

    target: Target
    clock: Callable[[], float]
    _programs: dict[int, common_pb2.KernelProgram] = field(default_factory=dict)
    _places: dict[int, Places] = field(default_factory=dict)
    _due: float = 0.0
    """When places may be asked for again."""
    _stale: bool = True
    """Whether a program is new since then."""

    def look_up(self, numbers: Sequence[int]) -> dict[int, Described]:
        """Programs by id; one that has gone before it could be asked for has no name."""
        new = [number for number in numbers if number not in self._programs]
        if new:
            self._programs |= _programs(self.target, new)
            self._stale = True
        now = self.clock()
        if now >= self._due + (0 if self._stale else _PLACES_SECONDS):
            self._places = places(self.target)
            self._due, self._stale = now + _PLACES_SOONEST, False
        return {number: self._described(number) for number in numbers}

    def _described(self, number: int) -> Described:
        program = self._programs[number]
        found = self._places.get(number, Places())
        return Described(
            number,
            str(program_type(program.type)) if program.type else "",
            program.name,
            program.object,
            list(dict.fromkeys(found.points)),
            found.links,
            list(dict.fromkeys(found.short)),
        )


def _programs(target: Target, numbers: Sequence[int]) -> dict[int, common_pb2.KernelProgram]:
    """Programs by id; what has gone meanwhile is an empty message."""
    from bpfd.v1 import common_pb2

    found = dict.fromkeys(numbers, common_pb2.KernelProgram())
    if len(numbers) > _FEW:
        return found | {program.id: program for program in target.programs()}
    for number in numbers:
        with suppress(NotFound):
            found[number] = target.program(number, owners=False)
    return found


@dataclass
class Places:
    """Where one program is attached."""

    points: list[str] = field(default_factory=list)
    """As they would be typed, where that can be told."""
    short: list[str] = field(default_factory=list)
    """The same for people, without options."""
    links: list[str] = field(default_factory=list)
    """Names of the daemon's links."""


def places(target: Target) -> dict[int, Places]:
    """Of every program that is attached anywhere, by its id."""
    from bpfctl.visible.machine import Machine
    from bpfctl.visible.places import short, where

    machine = Machine(target.machine(programs=False))
    found: dict[int, Places] = {}
    for each in machine.attachments:
        if each.program_id and not each.detached:
            place = found.setdefault(each.program_id, Places())
            place.points.append(where(each, machine))
            place.short.append(short(each, machine))
            if each.link:
                place.links.append(each.link)
    return found


@dataclass(frozen=True)
class Selection:
    """Which programs are wanted, and in which order."""

    sort: SortKey = "cpu"
    types: Sequence[str] = ()
    names: Sequence[str] = ()
    """Patterns as of a shell, for names of programs, OBJECT/NAME, or ids."""
    idle: bool = True
    """Also programs that did not run."""

    def rows(
        self, found: Interval, programs: Mapping[int, Described]
    ) -> list[tuple[Load, Described]]:
        """The wanted ones, sorted: the most first, names from A to Z."""
        chosen = [(load, programs.get(load.id, Described(load.id))) for load in found.loads]
        return sorted(filter(self._wanted, chosen), key=self._order)

    def _wanted(self, row: tuple[Load, Described]) -> bool:
        load, program = row
        if not (load.runs or self.idle) or (self.types and program.type not in self.types):
            return False
        texts = (program.name, f"{program.object}/{program.name}", str(program.id))
        return not self.names or any(
            fnmatch.fnmatchcase(text, pattern) for text in texts for pattern in self.names
        )

    def _order(self, row: tuple[Load, Described]) -> tuple[Any, ...]:
        load, program = row
        first: dict[SortKey, Any] = {
            "cpu": -load.cpu_percent,
            "runs": -load.runs,
            "avg": -load.average_ns,
            "name": program.name,
        }
        return (first[self.sort], program.name, load.id)


def record(load: Load, program: Described) -> dict[str, Any]:
    """A program's interval as a row for output."""
    return {
        "id": load.id,
        "type": program.type,
        "name": program.name,
        "object": program.object,
        "attached": list(program.places),
        "links": list(program.links),
        "runs": load.runs,
        "runs_per_second": round(load.runs_per_second, 1),
        "avg_ns": round(load.average_ns, 1),
        "cpu_percent": round(load.cpu_percent, 4),
        "run_time_ns": load.nanoseconds,
        "recursion_misses": load.recursion_misses,
        "interval_s": round(load.seconds, 6),
    }


def check_interval(seconds: float) -> None:
    """Raise InvalidArgument for one that no daemon takes."""
    if not 0.1 <= seconds <= 3600:
        raise InvalidArgument("--interval", "from 100ms to 1h")
