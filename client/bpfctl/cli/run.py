# SPDX-License-Identifier: Apache-2.0
"""`bpfctl run`: from a source file to events, and nothing left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from bpfctl.cli.event_output import FORMATS, event_options
from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.parameters import Duration, pairs
from bpfctl.cli.source import (
    BuildSettings,
    SettingTexts,
    Source,
    build_options,
    collected,
    setting_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from bpfctl.cli.show_events import Exporter, Ring
    from bpfctl.objects import LoadedObject, LoadSettings
    from bpfctl.output import RowStream
    from bpfctl.package.model import Value
    from bpfctl.sessions import Session
    from bpfctl.target import Target
    from bpfd.v1 import objects_pb2

_SAME = 100
"""Objects of one file that may run at the same time."""


@dataclass(frozen=True)
class Wishes:
    """Where programs go, and what of them is shown."""

    attach: tuple[str, ...]
    interface: str | None
    parameters: tuple[str, ...]
    name: str | None
    duration: float
    count: int
    types: tuple[str, ...]
    only_events: tuple[str, ...]
    no_events: bool
    every: float
    no_maps: bool
    timings: bool
    where: str
    path: str | None


def _wish_options(function: Callable[..., Any]) -> Callable[..., Any]:
    function = collected(function, "wishes", Wishes)
    for option in (
        click.option("--timings", is_flag=True, help="Say where the time until attached went."),
        click.option("--no-maps", is_flag=True, help="Do not show the maps at the end."),
        click.option(
            "--maps",
            "--interval",
            "every",
            type=Duration(),
            default=0,
            help="Show the maps, or a package's views of them, so often, too.",
        ),
        click.option("--no-events", is_flag=True, help="Do not show events."),
        click.option(
            "--events",
            "only_events",
            multiple=True,
            metavar="MAP",
            help="Only the events of this ring.",
        ),
        click.option(
            "--type",
            "types",
            multiple=True,
            metavar="MAP=STRUCT",
            help="Type of a ring's records, where it cannot be found.",
        ),
        click.option(
            "--count", type=click.IntRange(0), default=0, help="End after so many events."
        ),
        click.option("--duration", type=Duration(), default=0, help="End after this time."),
        click.option("--name", help="Name of the object while it runs [the file's]."),
        click.option(
            "-p",
            "parameters",
            multiple=True,
            metavar="NAME=VALUE",
            help="What sections and packages leave open: interface, cgroup, netns, pid, ...",
        ),
        click.option(
            "-i",
            "--interface",
            metavar="NAME[,netns=NAME]",
            help="Where programs for interfaces go; short for -p interface=NAME.",
        ),
        click.option(
            "--attach",
            multiple=True,
            metavar="[PROGRAM=]POINT",
            help="Where a program goes, if not where its section says; see `bpfctl attach -h`.",
        ),
    ):
        function = option(function)
    return event_options(function)


@dataclass
class _Iterators:
    """Links to iterators, which run when they are read and end by themselves."""

    links: list[objects_pb2.Link] = field(default_factory=list)
    alone: bool = True
    """Nothing else runs: there is nothing to wait for."""


@click.command()
@click.argument("source", metavar="FILE.bpf.c|FILE.o|PACKAGE")
@_wish_options
@setting_options
@build_options
@common_options(formats=FORMATS)
@pass_invocation
def command(
    invocation: Invocation,
    source: str,
    wishes: Wishes,
    settings: SettingTexts,
    build: BuildSettings,
) -> None:
    """Build, load, attach, show events and maps until Ctrl-C; leave nothing behind.

    Programs go where their sections say, or where --attach says. Events of ring buffers
    and perf buffers are shown as they come, at the end the entries of the maps, or what a
    package says of them: histograms, tables. What
    iterators write is shown first; a file with nothing but iterators ends with them.
    """
    from bpfctl.cli.event_output import destination
    from bpfctl.cli.source import make
    from bpfctl.cli.timings import Timings

    clock = Timings()
    with destination(invocation, wishes.path) as exporter, invocation.connect() as target:
        clock.step("connect")
        made = make(invocation, target, source, build)
        clock.step("build", "cached" if made.built and made.built.cached else "")
        with target.session(f"bpfctl run {source}"[:128]) as session:
            clock.step("session")
            loaded = _load(target, session, made, wishes, settings)
            clock.step("load")
            attached, iterators = _attach(invocation, loaded, made, wishes)
            clock.step("attach")
            # From here on Ctrl-C is the way to end it.
            with contextlib.suppress(KeyboardInterrupt):
                if wishes.timings:
                    invocation.warn(f"timings: {clock.line()}")
                for line in attached:
                    invocation.warn(line)
                values = _values(made, settings)
                _show(invocation, loaded, made, wishes, session, iterators, values, exporter)


def _values(made: Source, settings: SettingTexts) -> Mapping[str, Value]:
    """What a package's settings are."""
    if made.package is None:
        return {}
    return made.package.resolve(pairs(settings.values, "--set")).values


def _load(
    target: Target, session: Session, made: Source, wishes: Wishes, settings: SettingTexts
) -> LoadedObject:
    """Load under the name that was asked for, or one like the file's that is free."""
    from bpfctl.cli.failures import with_object
    from bpfctl.cli.source import MAX_NAME, load_settings
    from bpfctl.errors import InvalidArgument

    chosen = load_settings(made, settings)
    if wishes.attach or made.package is not None:
        functions = _functions(made, wishes, chosen)
        chosen = dataclasses.replace(chosen, functions={**functions, **chosen.functions})
    base = made.name[: MAX_NAME - 3]
    names = [wishes.name] if wishes.name else [base, *(f"{base}-{n}" for n in range(2, _SAME))]
    with with_object(made.elf):
        for name in names[:-1]:
            try:
                return target.load(made.elf, name, session=session, settings=chosen)
            except InvalidArgument as error:
                # Someone runs the same file, or has loaded it.
                if error.field != "name":
                    raise
        return target.load(made.elf, names[-1], session=session, settings=chosen)


def _functions(made: Source, wishes: Wishes, settings: LoadSettings) -> dict[str, str]:
    """What --attach fixes before programs are loaded."""
    from bpfctl.cli import plan
    from bpfctl.elf import ObjectFile

    parsed = ObjectFile.parse(made.elf).programs
    programs = [
        plan.Program(each.name, each.section.removeprefix("?"))
        for each in parsed
        if each.name not in settings.skip
        and (not each.section.startswith("?") or each.name in settings.also)
    ]
    return plan.functions(programs, wishes.attach, _parameters(wishes), made.package)


def _parameters(wishes: Wishes) -> dict[str, str]:
    """What sections and packages leave open."""
    parameters = pairs(wishes.parameters, "-p")
    if wishes.interface:
        parameters["interface"] = wishes.interface
    return parameters


def _attach(
    invocation: Invocation, loaded: LoadedObject, made: Source, wishes: Wishes
) -> tuple[list[str], _Iterators]:
    """Attach what can be; gives lines on what was, and what there is to read."""
    from bpfctl import attachpoint
    from bpfctl.cli import plan
    from bpfctl.errors import InvalidArgument, NotFound, NotSupported
    from bpfctl.listing import map_type

    programs = [
        plan.Program(program.name, program.section) for program in loaded.message.programs
    ]
    tables = [
        entry.name for entry in loaded.message.maps if map_type(entry.type) == "struct_ops"
    ]
    planned = plan.make(programs, wishes.attach, _parameters(wishes), made.package, tables)
    lines = [f"program {name} is not attached: {why}" for name, why in planned.left]
    if not planned.attach:
        raise InvalidArgument("attach", "; ".join(lines) or "the object has no program")
    iterators = _Iterators()
    for name, point in planned.attach:
        try:
            link = loaded.attach(name, point)
        except NotSupported as error:
            raise NotSupported(
                f"{error.feature}, as program {name} wants",
                error.since,
                f"{error.needs}; leave it out with --no-program {name}".lstrip("; "),
            ) from None
        except NotFound as error:
            said = f"{error.hint}; " if error.hint else ""
            hint = f"{said}program {name} wants it, --no-program {name} leaves that out"
            raise NotFound(error.kind, error.name, error.near, hint) from None
        except InvalidArgument as error:
            where = f"program {name}, at {attachpoint.describe(point)}"
            raise InvalidArgument(error.field, f"{error.why} ({where})") from None
        where = attachpoint.describe(link.point)
        lines.append(
            f"attached {name} to {where}" + (f" ({link.method})" if link.method else "")
        )
        if point.WhichOneof("point") == "iterator":
            iterators.links.append(link)
        else:
            iterators.alone = False
    return lines, iterators


def _show(
    invocation: Invocation,
    loaded: LoadedObject,
    made: Source,
    wishes: Wishes,
    session: Session,
    iterators: _Iterators,
    values: Mapping[str, Value],
    exporter: Exporter | None,
) -> None:
    """Events as they come, maps in between and at the end.

    json, jsonl and yaml are one document: rows of events and rows of maps. Tables and csv
    have columns, so every ring and map has its own.
    """
    from bpfctl.cli.show_views import show_views

    with contextlib.ExitStack() as closing:
        stream = None
        if invocation.format in ("json", "jsonl", "yaml"):
            stream = closing.enter_context(invocation.output.stream())
        show = functools.partial(show_views, invocation, loaded, stream, made.package, values)
        _show_into(stream, show, invocation, loaded, made, wishes, session, iterators, exporter)


def _show_into(
    stream: RowStream | None,
    show: Callable[[], None],
    invocation: Invocation,
    loaded: LoadedObject,
    made: Source,
    wishes: Wishes,
    session: Session,
    iterators: _Iterators,
    exporter: Exporter | None,
) -> None:
    until = time.monotonic() + wishes.duration if wishes.duration else None
    try:
        _show_iterators(stream, invocation, loaded, iterators, until)
        with contextlib.ExitStack() as closing:
            done = iterators.links and iterators.alone
            rings = [] if wishes.no_events or done else list(_rings(loaded, made, wishes))
            if rings:
                from bpfctl.cli.show_events import EventWriter

                if exporter is not None:
                    exporter.begin(loaded.target, rings)
                writer = EventWriter(
                    invocation, rings, tagged=True, stream=stream, exporter=exporter
                )
                closing.callback(writer.report)
                writer.run(count=wishes.count, until=until, every=(show, wishes.every))
            elif not done:
                _wait(show, session, wishes.every, until)
    except KeyboardInterrupt:
        pass
    if session.ended is not None:
        raise session.ended
    if not wishes.no_maps:
        show()


def _show_iterators(
    stream: RowStream | None,
    invocation: Invocation,
    loaded: LoadedObject,
    iterators: _Iterators,
    until: float | None,
) -> None:
    """One run of each, cut short when the time is over."""
    if not iterators.links:
        return
    from bpfctl.cli.show_iterators import show_iterator

    for link in iterators.links:
        pieces = loaded.target.read_link(link.name)
        shown = itertools.takewhile(lambda _: until is None or time.monotonic() < until, pieces)
        with contextlib.closing(pieces):
            show_iterator(invocation, link.program, shown, stream)


def _wait(
    show: Callable[[], None], session: Session, every: float, until: float | None
) -> None:
    """Wait for `until`, Ctrl-C or the session's end; show the maps in between."""
    while True:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return
        pauses = [pause for pause in (left, every or None) if pause is not None]
        if session.end.wait(min(pauses) if pauses else None):
            return
        if every:
            show()


def _rings(loaded: LoadedObject, made: Source, wishes: Wishes) -> Iterator[Ring]:
    """Subscriptions to the object's rings."""
    from bpfctl import naming
    from bpfctl.cli.show_events import Ring
    from bpfctl.cli.show_maps import RINGS
    from bpfctl.listing import map_type
    from bpfctl.records import reader

    types = pairs(wishes.types, "--type")
    declared = {events.map: events for events in made.package.events} if made.package else {}
    for name, entry in loaded.maps.items():
        if map_type(entry.type) not in RINGS:
            continue
        if wishes.only_events and name not in wishes.only_events:
            continue
        ring = loaded.map(name)
        events = declared.get(name)
        type_name = types.get(name) or (events.type if events else "")
        lost = f"{loaded.name}/{events.lost}" if events and events.lost else None
        stream = loaded.target.events(ring.ref, lost_map=lost)
        records = reader(ring, type_name, where=wishes.where)
        records.naming = naming.of(loaded, records.codec)
        yield Ring(name, stream, records)
