# SPDX-License-Identifier: Apache-2.0
"""The hottest functions of a profile, as a list and as a screen that goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bpfctl.profiles.counted import Counted, Sum
from bpfctl.profiles.hottest import hottest
from bpfctl.profiles.resolve import Resolver, profile, title

if TYPE_CHECKING:
    from rich.table import Table

    from bpfctl.profiles.collect import Collector
    from bpfctl.profiles.model import Sample
    from bpfctl.profiles.resolve import Symbols

WINDOW = 5.0
"""Seconds that the screen is of."""

_EVERY = 1.0
_AROUND = 5
"""Lines of the screen that are not functions."""


def rows(samples: Iterable[Sample], count: int, *, people: bool = True) -> list[dict[str, Any]]:
    """The functions with most of their own; values in the profile's unit, shares of all."""
    kept = list(samples)
    total = sum(sample.value for sample in kept) or 1
    found = []
    for each in hottest(kept)[:count]:
        own, whole = 100 * each.self_value / total, 100 * each.total / total
        found.append(
            {
                "self": each.self_value,
                "self_percent": f"{own:.1f} %" if people else round(own, 3),
                "total": each.total,
                "total_percent": f"{whole:.1f} %" if people else round(whole, 3),
                "function": each.name,
                "module": each.module,
            }
        )
    return found


def difference(now: Counted, before: Counted) -> Counted:
    """What came since `before`; pure."""
    found = Counted(stacks=now.stacks)
    for key, each in now.sums.items():
        old = before.sums.get(key, Sum())
        if each.count > old.count:
            found.sums[key] = Sum(each.count - old.count, each.ns - old.ns)
    return found


def live(collector: Collector, symbols: Symbols, seconds: float | None, count: int) -> None:
    """Draws the last seconds anew each second, until it is over or Ctrl-C.

    Where standard output is no terminal, a table for each second.
    """
    from rich.console import Console
    from rich.live import Live

    from bpfctl.profiles.collect import snapshot

    console = Console()
    resolver = Resolver(symbols, collector.processes, collector.wish.off_cpu)
    past: deque[tuple[float, Counted]] = deque([(time.monotonic(), Counted())])
    until = None if seconds is None else time.monotonic() + seconds
    with Live(console=console, auto_refresh=False) as screen:
        while until is None or time.monotonic() < until:
            if collector.ended.wait(_EVERY):
                return
            with collector.lock:
                now = snapshot(collector.counted)
            moment = time.monotonic()
            past.append((moment, now))
            while len(past) > 2 and moment - past[1][0] >= WINDOW:
                past.popleft()
            recent = difference(now, past[0][1])
            with collector.lock:
                samples = profile(
                    recent, resolver, per=collector.wish.per, off_cpu=collector.wish.off_cpu
                )
            room = max(1, min(count, console.size.height - _AROUND))
            screen.update(
                _table(collector, samples, moment - past[0][0], now.samples, room), refresh=True
            )


def _table(
    collector: Collector, samples: Iterable[Sample], seconds: float, all_samples: int, room: int
) -> Table:
    from rich.table import Table
    from rich.text import Text

    what = "waits" if collector.wish.off_cpu else "samples"
    table = Table(
        box=None,
        header_style="bold reverse",
        pad_edge=False,
        padding=(0, 2, 0, 0),
        expand=True,
        title=f"{title(collector)}  {time.strftime('%H:%M:%S')}\n"
        f"last {seconds:.0f} s; {all_samples} {what} since the start",
        title_justify="left",
        title_style="",
    )
    for name in ("SELF", "TOTAL"):
        table.add_column(name, justify="right", no_wrap=True, min_width=8)
    table.add_column("FUNCTION", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("MODULE", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows(samples, room):
        table.add_row(
            row["self_percent"],
            row["total_percent"],
            Text(row["function"]),
            Text(row["module"]),
        )
    return table
