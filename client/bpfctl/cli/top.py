# SPDX-License-Identifier: Apache-2.0
"""`bpfctl top`: what every program costs, live."""

from __future__ import annotations

import sys
import time
from contextlib import closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, cast

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.parameters import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfctl.output import Row
    from bpfctl.run_times import Described, Interval, Load, Selection, SortKey
    from bpfctl.target import Target

COLUMNS = ("id", "type", "name", "object", "attached", "runs/s", "average", "cpu")


@click.command()
@click.option(
    "--sort",
    type=click.Choice(["cpu", "runs", "avg", "name"]),
    default="cpu",
    help="What comes first [cpu].",
)
@click.option(
    "--interval", "seconds", type=Duration(), default="1s", help="Time between two looks [1s]."
)
@click.option("--count", type=click.IntRange(1), help="End after so many intervals.")
@click.option("--once", is_flag=True, help="One interval, as --count 1.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these, as in `xdp`.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="PATTERN",
    help="Only programs whose name, OBJECT/NAME or id is like that (* and ? stand for any).",
)
@click.option(
    "-a", "--all", "idle", is_flag=True, help="In tables, also those that do not run."
)
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    sort: str,
    seconds: float,
    count: int | None,
    once: bool,
    types: tuple[str, ...],
    names: tuple[str, ...],
    idle: bool,
) -> None:
    """What every program of the kernel costs, whoever loaded it: runs, time of one run,
    share of a CPU.

    The share is of one CPU: on four, a program may take 400 %. The kernel measures only while
    somebody looks; that itself costs each run some 50 to 100 ns. At a terminal the list is
    shown anew until Ctrl-C; else, and with -o, there are rows for every interval. A table has
    the programs that ran, other formats have all.
    """
    from bpfctl.run_times import Selection, check_interval

    if once and count not in (None, 1):
        raise click.UsageError("--once and --count exclude each other")
    check_interval(seconds)
    table = invocation.format == "table"
    selection = Selection(cast("SortKey", sort), types, names, idle or not table)
    if invocation.several and (once or count == 1):
        rows = invocation.rows_of_each(lambda target: _once(target, seconds, selection, table))
        invocation.output.rows(rows, invocation.columns(COLUMNS))
        return
    bound = 1 if once else count
    with invocation.connect() as target, suppress(KeyboardInterrupt):
        if table and sys.stdout.isatty() and bound != 1:
            _live(target, seconds, selection, bound)
        elif table:
            _tables(invocation, target, seconds, selection, bound)
        else:
            _stream(invocation, target, seconds, selection, bound)


def _looks(
    target: Target, seconds: float, selection: Selection, count: int | None
) -> Iterator[tuple[Interval, list[tuple[Load, Described]]]]:
    """Interval after interval with the rows that are wanted of it."""
    from bpfctl.run_times import Directory, watch

    directory = Directory(target, time.monotonic)
    with closing(watch(target, seconds)) as intervals:
        for found in islice(intervals, count):
            programs = directory.look_up([load.id for load in found.loads])
            yield found, selection.rows(found, programs)


def _once(target: Target, seconds: float, selection: Selection, table: bool) -> list[Row]:
    from bpfctl.cli.show_top import cells
    from bpfctl.run_times import record

    ((_, rows),) = _looks(target, seconds, selection, 1)
    return [cells(*row) if table else record(*row) for row in rows]


def _live(target: Target, seconds: float, selection: Selection, count: int | None) -> None:
    from bpfctl.cli.show_top import View

    with View(target.name, target.info(), seconds) as view:
        for found, rows in _looks(target, seconds, selection, count):
            view.show(found, rows)


def _tables(
    invocation: Invocation,
    target: Target,
    seconds: float,
    selection: Selection,
    count: int | None,
) -> None:
    from bpfctl.cli.show_top import cells, summary

    for number, (found, rows) in enumerate(_looks(target, seconds, selection, count)):
        if number:
            click.echo()
        invocation.output.rows([cells(*row) for row in rows], COLUMNS)
        click.echo(summary(found, rows))


def _stream(
    invocation: Invocation,
    target: Target,
    seconds: float,
    selection: Selection,
    count: int | None,
) -> None:
    from bpfctl.run_times import record

    with invocation.output.stream() as stream:
        for _, rows in _looks(target, seconds, selection, count):
            now = round(time.time(), 3)
            for row in rows:
                stream.write({"time": now, **record(*row)})
