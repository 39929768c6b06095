# SPDX-License-Identifier: Apache-2.0
"""Histograms with slots of powers of two or of one width; no kernel and no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PERCENTILES = (50, 90, 99)


class HistogramError(ValueError):
    """A map's values are no histograms; the text says what they are."""


@dataclass(frozen=True)
class Histogram:
    """How many values fell into each slot."""

    slots: tuple[int, ...]
    """Counts. The last slot has no upper end."""
    step: int = 0
    """Width of a slot in `unit`; 0: slot 0 is the value 0, slot N is 2^(N-1) to 2^N - 1."""
    unit: str = ""
    """Of the values: "us", "bytes", ...; "": plain numbers."""
    sum: int | None = None
    """Of all values; None: it was not counted."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """What it is told apart by: members of the map's key."""

    @property
    def count(self) -> int:
        """Values altogether."""
        return sum(self.slots)

    @property
    def average(self) -> float | None:
        """Of the values; None: there are none, or nobody added them up."""
        return self.sum / self.count if self.sum is not None and self.count else None

    def begin(self, slot: int) -> int:
        """The smallest value of a slot."""
        if self.step:
            return slot * self.step
        return 1 << slot - 1 if slot else 0

    def end(self, slot: int) -> int | None:
        """The first value beyond a slot; None: it has no upper end."""
        return None if slot == len(self.slots) - 1 else self.begin(slot + 1)

    def percentile(self, percent: float) -> float | None:
        """The value that `percent` of all are not above; None: there are no values.

        Within a slot the values are taken to lie evenly: it is interpolated between the
        slot's ends, so the error is below the slot's width. In the last slot, which has no
        end, it is the slot's beginning: the true value is that or more.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is from 0 to 100, not {percent}")
        wanted = self.count * percent / 100
        below = 0
        for slot, count in enumerate(self.slots):
            if count and below + count >= wanted:
                begin, end = self.begin(slot), self.end(slot)
                if end is None:
                    return float(begin)
                if end - begin == 1:
                    return float(begin)
                return begin + (end - begin) * max(0.0, wanted - below) / count
            below += count
        return None

    def merged(self, other: Histogram) -> Histogram:
        """Both together, with the labels of this one."""
        if (len(self.slots), self.step, self.unit) != (
            len(other.slots),
            other.step,
            other.unit,
        ):
            raise HistogramError("histograms with other slots cannot be merged")
        slots = tuple(a + b for a, b in zip(self.slots, other.slots, strict=True))
        both = None if self.sum is None or other.sum is None else self.sum + other.sum
        return Histogram(slots, self.step, self.unit, both, self.labels)

    def row(self) -> dict[str, Any]:
        """As `-o json` has it: slots that have values only, `to` is the first value beyond."""
        slots = [
            {"from": self.begin(slot), "to": self.end(slot), "count": count}
            for slot, count in enumerate(self.slots)
            if count
        ]
        return {
            **self.labels,
            "unit": self.unit,
            "count": self.count,
            "sum": self.sum,
            "average": self.average,
            **{f"p{percent}": self.percentile(percent) for percent in PERCENTILES},
            "slots": slots,
        }


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    keys: Sequence[str] = (),
    unit: str = "",
    step: int = 0,
) -> list[Histogram]:
    """The histograms of a map by its rows ({"key": ..., "value": ...}), CPUs added up; those
    with the most values first, empty ones left out.

    `keys`: members of the key that stay apart, others are added up over; none: all. Raises
    HistogramError for rows that have no slots, or keys that are not there.
    """
    found: dict[tuple[str, ...], Histogram] = {}
    for row in rows:
        labels = _labels(row["key"], keys)
        slots, total = _slots(row["value"])
        histogram = Histogram(slots, step, unit, total, labels)
        identity = tuple(map(repr, labels.values()))
        if identity in found:
            histogram = found[identity].merged(histogram)
        found[identity] = histogram
    some = [histogram for histogram in found.values() if histogram.count]
    return sorted(some, key=lambda histogram: -histogram.count)


def _labels(key: Any, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(key, dict):
        if keys:
            raise HistogramError(f"the key is no struct: it has no {keys[0]}")
        return {"key": key}
    for name in keys:
        if name not in key:
            raise HistogramError(f"the key has no {name}: it has {', '.join(key)}")
    return {name: key[name] for name in keys or key}


def _slots(value: Any) -> tuple[tuple[int, ...], int | None]:
    total = None
    if isinstance(value, dict):
        total = value.get("sum")
        value = value.get("slots")
    if not isinstance(value, list | tuple) or not all(isinstance(each, int) for each in value):
        raise HistogramError("the values have no array of integers named slots")
    return tuple(value), total if isinstance(total, int) else None
