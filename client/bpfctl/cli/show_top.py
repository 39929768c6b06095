# SPDX-License-Identifier: Apache-2.0
"""The screen of `bpfctl top`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bpfctl.output import cell
from bpfctl.printable import printable

if TYPE_CHECKING:
    from types import TracebackType

    from bpfctl.run_times import Described, Interval, Load
    from bpfd.v1 import target_pb2

_NUMBERS = ("runs/s", "average", "cpu")
_WIDE = "attached"
"""The column that gets what the others leave."""

_NARROW = 120
"""Width of a terminal below which names are cut short, and objects have no column."""

_LEAST = {"id": 7, "runs/s": 6, "average": 7, "cpu": 8}
_MOST = {"type": 10, "name": 20}

_AROUND = 4
"""Lines that are not programs: two of the head, the table's own, the cursor's."""

_WARM, _HOT = 1.0, 10.0
"""Percent of a CPU from which on a program is shown in yellow, and in red."""

Rows = Sequence[tuple["Load", "Described"]]


def rate(number: float) -> str:
    """Runs in a second, short: "0.5", "12", "3.4k", "1.2M"."""
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= bound:
            scaled = number / (1e3 if unit == "k" else bound)
            return f"{scaled:.1f}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{number:.1f}" if 0 < number < 10 else f"{number:.0f}"


def duration(nanoseconds: float) -> str:
    """A time, short: "87 ns", "1.2 us", "3.4 ms"."""
    for bound, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if nanoseconds >= bound:
            scaled = nanoseconds / bound
            return f"{scaled:.1f} {unit}" if scaled < 100 else f"{scaled:.0f} {unit}"
    return f"{nanoseconds:.0f} ns"


def percent(number: float) -> str:
    """A share of one CPU: three digits below one percent, where most programs are."""
    return f"{number:.1f} %" if number >= 10 else f"{number:.3f} %"


def cells(load: Load, program: Described) -> dict[str, object]:
    """A row for people."""
    return {
        "id": load.id,
        "type": program.type,
        "name": program.name,
        "object": program.object,
        "attached": list(program.short_places),
        "runs/s": rate(load.runs_per_second),
        "average": duration(load.average_ns) if load.runs else "",
        "cpu": percent(load.cpu_percent),
    }


def _narrowed(row: dict[str, object]) -> dict[str, object]:
    """A row without a column for objects: they stand before the names that leave room."""
    whole = f"{row['object']}/{row['name']}"
    name = whole if row["object"] and len(whole) <= _MOST["name"] else row["name"]
    return {key: value for key, value in row.items() if key != "object"} | {"name": name}


def summary(found: Interval, rows: Rows) -> str:
    """What all programs, and what those that are shown did."""
    total = found.total
    ran = sum(1 for load in found.loads if load.runs)
    text = (
        f"{len(found.loads)} programs, {ran} ran in {found.seconds:.1f} s: "
        f"{rate(total.runs_per_second)} runs/s, {percent(total.cpu_percent)} of one CPU"
    )
    if total.recursion_misses:
        text += f", {total.recursion_misses} runs left out (recursion)"
    shown = sum(load.cpu_percent for load, _ in rows)
    chosen = sum(1 for load, _ in rows if load.runs)
    return text if chosen == ran else f"{text}; {percent(shown)} by the {chosen} shown"


class View:
    """A list that is drawn anew in its place; a context manager.

    The last one stays on the terminal.
    """

    def __init__(self, target: str, info: target_pb2.TargetInfo, seconds: float) -> None:
        cpus = len(info.online_cpus) or info.possible_cpus
        self._title = f"bpfctl top - {target} ({cpus} CPUs), every {seconds:g} s"
        self._console = Console()
        self._live = Live(
            Text(f"{self._title}; measuring"), console=self._console, auto_refresh=False
        )

    def __enter__(self) -> View:
        self._live.__enter__()
        self._live.refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, found: Interval, rows: Rows) -> None:
        """Draw an interval; as many programs as the terminal has lines for."""
        room = max(1, self._console.size.height - _AROUND)
        shown = rows if len(rows) <= room else rows[: max(1, room - 1)]
        table = Table(
            box=None,
            header_style="bold reverse",
            pad_edge=False,
            padding=(0, 2, 0, 0),
            expand=True,
            title=f"{printable(self._title)}  {time.strftime('%H:%M:%S')}\n"
            f"{summary(found, rows)}",
            title_justify="left",
            title_style="",
        )
        narrow = self._console.width < _NARROW
        lines = [_narrowed(cells(*row)) if narrow else cells(*row) for row in shown]
        for name in lines[0] if lines else ("no program ran",):
            table.add_column(
                name.upper() if rows else name,
                justify="right" if name in _NUMBERS else "left",
                no_wrap=True,
                overflow="ellipsis",
                ratio=1 if name == _WIDE else None,
                min_width=_LEAST.get(name),
                max_width=_MOST.get(name) if narrow else None,
            )
        for (load, _), line in zip(shown, lines, strict=True):
            style = "red" if load.cpu_percent >= _HOT else ""
            style = style or ("yellow" if load.cpu_percent >= _WARM else "")
            # Text: square brackets of a name are not rich's markup.
            table.add_row(*(Text(cell(value)) for value in line.values()), style=style)
        if len(shown) < len(rows):
            table.add_row("...", f"{len(rows) - len(shown)} more")
        self._live.update(table, refresh=True)
