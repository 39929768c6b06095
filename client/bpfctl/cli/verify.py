# SPDX-License-Identifier: Apache-2.0
"""`bpfctl verify`: what the verifier of each target says of each program."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.source import (
    BuildSettings,
    SettingTexts,
    build_options,
    collected,
    setting_options,
)
from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfctl.verifier.compare import Bound, Comparison
    from bpfctl.verifier.run import Verified

DEFAULT_METRICS = (
    "processed_insns",
    "total_states",
    "peak_states",
    "stack_bytes",
    "size_insns",
)
"""Figures of a comparison's table: those that a program itself makes."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Against:
    """What the figures are compared with, and how much they may grow."""

    compare: str | None
    baseline: Path | None
    bounds: tuple[str, ...]
    metrics: tuple[str, ...]


def _against_options(function: Callable[..., Any]) -> Callable[..., Any]:
    function = collected(function, "against", Against)
    for option in (
        click.option(
            "--metric",
            "metrics",
            multiple=True,
            metavar="NAME",
            help="Figures of a comparison's table; it is sorted by the first one.",
        ),
        click.option(
            "--max-increase",
            "bounds",
            multiple=True,
            metavar="[METRIC=]N[%]",
            help="Fail where a figure [processed_insns] has grown by more.",
        ),
        click.option(
            "--baseline",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Compare with what `verify -o json` wrote.",
        ),
        click.option("--compare", metavar="OLD", help="Compare with another build."),
    ):
        function = option(function)
    return function


_options = functools.partial(
    setting_options,
    log_level=click.option(
        "--log",
        "log_level",
        type=click.IntRange(0, 7),
        default=0,
        help="The log as well: 1 (of the path that failed), 2 (of every path), 4 (statistics).",
    ),
    also=click.option(
        "--program",
        "also",
        multiple=True,
        metavar="GLOB",
        help="Only these programs, those that are off by default too.",
    ),
    skip=click.option(
        "--no-program", "skip", multiple=True, metavar="GLOB", help="Leave programs out."
    ),
)


@click.command()
@click.argument("sources", metavar="FILE.o|FILE.bpf.c|PACKAGE...", nargs=-1, required=True)
@_against_options
@_options
@build_options
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    sources: tuple[str, ...],
    against: Against,
    settings: SettingTexts,
    build: BuildSettings,
) -> None:
    """What the verifier of each target says of each program; nothing stays loaded.

    Each program is loaded by itself, so that one refusal does not hide the others. A refused
    program is shown at its source line, and the exit code is 3.
    """
    from bpfctl.verifier import compare

    if against.compare and (against.baseline or len(sources) > 1):
        raise click.UsageError("--compare takes one object, and no --baseline")
    if not (against.compare or against.baseline) and (against.bounds or against.metrics):
        raise click.UsageError("--max-increase and --metric need --compare or --baseline")
    bounds = [compare.Bound.parse(text) for text in against.bounds]
    metrics = [compare.metric_named(name, "--metric") for name in against.metrics]
    old_rows = _baseline(against.baseline, settings) if against.baseline else []

    def work(target: Target) -> tuple[list[Verified], list[Row]]:
        new: list[Verified] = []
        for source in sources:
            new += _verify(invocation, target, source, settings, build)
        old: list[Row] = []
        if against.compare:
            before = dataclasses.replace(settings, log_level=0)
            made = _verify(invocation, target, against.compare, before, build, strict=False)
            old = [each.row() | {"object": new[0].object if new else ""} for each in made]
        return new, old

    done = invocation.each(work)
    found = {name: new for name, (new, _) in done.items()}
    if settings.log_level and invocation.format == "table":
        _show_logs(invocation, found)
    log = bool(settings.log_level)
    rows = invocation.labelled(
        {name: [each.row(log=log) for each in new] for name, new in found.items()}
    )
    if against.compare or against.baseline:
        old_rows = old_rows or invocation.labelled(
            {name: old for name, (_, old) in done.items()}
        )
        pairs = compare.compare(old_rows, rows, *metrics[:1])
        _show_comparison(invocation, pairs, metrics or DEFAULT_METRICS)
        _check(invocation, pairs, bounds)
    else:
        _show(invocation, rows, several=len(sources) > 1)
    _tell(invocation, found)


def _verify(
    invocation: Invocation,
    target: Target,
    source: str,
    texts: SettingTexts,
    build: BuildSettings,
    *,
    strict: bool = True,
) -> list[Verified]:
    """The programs that were asked for of one source."""
    from bpfctl.cli.source import load_settings, make
    from bpfctl.elf import ObjectFile
    from bpfctl.verifier import choice
    from bpfctl.verifier.run import verify

    made = make(invocation, target, source, build)
    parsed = ObjectFile.parse(made.elf)
    names = choice.chosen(parsed, texts.also, texts.skip, strict=strict)
    also = tuple(names) if texts.also else ()
    settings = load_settings(made, dataclasses.replace(texts, also=also, skip=()))
    names = [name for name in names if name not in settings.skip]
    if not names:
        invocation.warn(f"{source}: there is no program to verify", target)
        return []
    return list(verify(target, made.name, made.elf, settings, names))


def _baseline(path: Path, texts: SettingTexts) -> list[Row]:
    """Rows of an earlier run, of the programs that are asked for now."""
    from bpfctl.verifier import choice, compare

    rows = compare.read_rows(path.read_text("utf-8", "replace"), str(path))
    return [row for row in rows if choice.fits(row["program"], texts.also, texts.skip)]


def _show(invocation: Invocation, rows: list[Row], *, several: bool) -> None:
    from bpfctl.verifier import statistics

    if invocation.format == "table":
        rows = [statistics.for_table(row) for row in rows]
        if not several:
            for row in rows:
                del row["object"]
    invocation.output.rows(rows)


def _show_logs(invocation: Invocation, found: Mapping[str, Iterable[Verified]]) -> None:
    for name, programs in found.items():
        label = f" on {name}" if invocation.several else ""
        for each in programs:
            log = each.message.log
            cut = " (only its end)" if log.truncated else ""
            text = f"--- verifier log of {log.program}{label}{cut}\n{log.log.rstrip()}"
            click.echo(printable(text, keep="\n\t"), err=True)


def _show_comparison(
    invocation: Invocation, pairs: Iterable[Comparison], metrics: Iterable[str]
) -> None:
    if invocation.format == "table":
        lines = [pair.line(metrics) for pair in pairs]
        for line in lines:
            line.pop("object", None)
        invocation.output.rows(lines)
    else:
        invocation.output.rows([pair.row() for pair in pairs])


def _check(
    invocation: Invocation, pairs: Iterable[Comparison], bounds: Iterable[Bound]
) -> None:
    """Tells what has grown by more than it may."""
    from bpfctl.cli.failures import EXIT_ERROR, worst

    for pair in pairs:
        for bound in bounds:
            if bound.exceeded(pair):
                where = ": ".join(
                    pair.names[key] for key in ("target", "program") if key in pair.names
                )
                grown = f"{bound.metric} {pair[bound.metric]}: it may grow by {bound}"
                invocation.warn(f"error: {where}: {grown}")
                invocation.exit_code = worst((invocation.exit_code, EXIT_ERROR))


def _tell(invocation: Invocation, found: Mapping[str, Iterable[Verified]]) -> None:
    """Shows refusals, and what has no verdict, equal ones of several targets once.

    The exit code is 3 where a program was refused, whatever else went wrong.
    """
    from bpfctl.cli import failures

    alike: dict[str, tuple[Exception, list[str]]] = {}
    for name, programs in found.items():
        for each in programs:
            error: Exception | None = each.error
            if each.refusal is not None:
                error = failures.Refused(each.refusal, each.parsed.data)
            if error is not None:
                key = f"{each.object} {each.program} {error}"
                alike.setdefault(key, (error, []))[1].append(name)
    refused = False
    for error, names in alike.values():
        where = ", ".join(names) if invocation.several else ""
        code = failures.show(error, verbose=invocation.verbose, where=where)
        refused = refused or isinstance(error, failures.Refused)
        invocation.exit_code = failures.worst((invocation.exit_code, code))
    if refused:
        invocation.exit_code = failures.EXIT_REFUSED
