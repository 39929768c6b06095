# SPDX-License-Identifier: Apache-2.0
"""Histograms as text, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.output import cell
from bpfctl.printable import printable

from . import units
from .model import PERCENTILES, Histogram

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEAST_BAR, _MOST_BAR = 8, 60
MAX_LINES = 40
"""Slots of one histogram; with more the rest is one line."""


def lines(
    histogram: Histogram, title: str, *, width: int = 80, ascii_only: bool = False
) -> Iterator[str]:
    """A head with the percentiles, then a line for each slot from the first to the last that
    has values; none is wider than `width` where that is 40 or more."""
    yield from _head(histogram, title, width)
    used = [slot for slot, count in enumerate(histogram.slots) if count]
    if not used:
        return
    shown = range(used[0], min(used[-1] + 1, used[0] + MAX_LINES))
    ranges = {slot: _range(histogram, slot) for slot in shown}
    counts = {slot: units.count(histogram.slots[slot]) for slot in shown}
    label = max(map(len, ranges.values()))
    number = max(map(len, counts.values()))
    room = width - label - number - 6
    bar = max(_LEAST_BAR, min(_MOST_BAR, room))
    most = max(histogram.slots[slot] for slot in shown)
    for slot in shown:
        filled = _bar(histogram.slots[slot] / most, bar, ascii_only)
        yield f"  {ranges[slot]:>{label}} |{filled}| {counts[slot]:>{number}}".rstrip()
    left = [histogram.slots[slot] for slot in used if slot not in shown]
    if left:
        begin = units.text(histogram.begin(shown[-1] + 1), histogram.unit)
        yield f"  {units.count(sum(left))} more from {begin} on"


def _head(histogram: Histogram, title: str, width: int) -> Iterator[str]:
    labels = ", ".join(f"{name}={cell(value)}" for name, value in _said(histogram))
    yield _cut(printable(f"{title}: {labels}" if labels else title), width)
    figures = [f"{units.count(histogram.count)} values"]
    if histogram.average is not None:
        figures.append(f"average {units.text(histogram.average, histogram.unit)}")
    for percent in PERCENTILES:
        value = histogram.percentile(percent)
        if value is not None:
            figures.append(f"p{percent} {units.text(value, histogram.unit)}")
    line = "  " + figures[0]
    for each in figures[1:]:
        if len(line) + 2 + len(each) > width:
            yield line
            line = "  " + each
        else:
            line += ", " + each
    yield line


def _said(histogram: Histogram) -> list[tuple[str, object]]:
    """Labels that say something: 0 and "" are what programs put where they do not look."""
    return [(name, value) for name, value in histogram.labels.items() if value not in (0, "")]


def _range(histogram: Histogram, slot: int) -> str:
    begin, end = histogram.begin(slot), histogram.end(slot)
    first = units.text(begin, histogram.unit)
    if end is None:
        return f"{first} or more"
    if end - begin == 1:
        return first
    return f"{first} - {units.text(end, histogram.unit)}"


def _bar(share: float, width: int, ascii_only: bool) -> str:
    if ascii_only:
        return ("#" * max(round(share * width), share > 0)).ljust(width)
    eighths = max(round(share * width * 8), share > 0)
    whole, part = divmod(eighths, 8)
    text = _EIGHTHS[8] * whole + (_EIGHTHS[part] if part else "")
    return text.ljust(width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width or width < 40 else text[: width - 1] + "…"
