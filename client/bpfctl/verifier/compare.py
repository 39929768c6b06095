# SPDX-License-Identifier: Apache-2.0
"""Two runs of the verifier beside each other, and bounds for what may have grown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bpfctl.errors import InvalidArgument
from bpfctl.verifier.statistics import HEADINGS, METRICS

Row = Mapping[str, Any]

DEFAULT_METRIC = "processed_insns"
_BY_HEADING = {heading: metric for metric, heading in HEADINGS.items()}


@dataclass(frozen=True)
class Change:
    """A figure before and after; None: there is none."""

    old: int | None
    new: int | None

    @property
    def difference(self) -> int | None:
        """How much it grew."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def percent(self) -> float | None:
        """How much it grew in percent of `old`; None where that is 0, or one is missing."""
        grown = self.difference
        if grown is None or self.old is None:
            return None
        if not self.old:
            return None if grown else 0.0
        return round(100 * grown / self.old, 2)

    def __str__(self) -> str:
        if not self.difference:
            return _shown(self.new) if self.old == self.new else self._arrow()
        digits = 1 if abs(self.percent or 0) >= 1 else 2
        percent = "" if self.percent is None else f", {self.percent:+.{digits}f}%"
        return f"{self._arrow()} ({self.difference:+d}{percent})"

    def _arrow(self) -> str:
        return f"{_shown(self.old)} -> {_shown(self.new)}"

    def row(self) -> dict[str, Any]:
        """For output."""
        return {
            "old": self.old,
            "new": self.new,
            "difference": self.difference,
            "percent": self.percent,
        }


def _shown(value: int | None) -> str:
    return "-" if value is None else str(value)


@dataclass(frozen=True)
class Comparison:
    """One program in two runs; one of them may be None."""

    old: Row | None
    new: Row | None

    def __getitem__(self, metric: str) -> Change:
        return Change(_value(self.old, metric), _value(self.new, metric))

    @property
    def verdicts(self) -> tuple[str | None, str | None]:
        """Before and after; None: there is no such program."""
        old, new = ((row or {}).get("verdict") for row in (self.old, self.new))
        return old, new

    @property
    def names(self) -> dict[str, str]:
        """What the row is of: target, object, program, as far as they are known."""
        row = self.new or self.old or {}
        return {key: row[key] for key in ("target", "object", "program") if key in row}

    def row(self) -> dict[str, Any]:
        """For output, with all figures."""
        old, new = self.verdicts
        verdicts = {"verdict": {"old": old, "new": new}}
        return self.names | verdicts | {metric: self[metric].row() for metric in METRICS}

    def line(self, metrics: Iterable[str]) -> dict[str, Any]:
        """For a table, with some figures."""
        old, new = self.verdicts
        said = str(new) if old == new else f"{old or '-'} -> {new or '-'}"
        return (
            self.names
            | {"verdict": said}
            | {HEADINGS.get(each, each): str(self[each]) for each in metrics}
        )


def _value(row: Row | None, metric: str) -> int | None:
    value = (row or {}).get(metric)
    return value if isinstance(value, int) else None


def compare(
    old: Sequence[Row], new: Sequence[Row], metric: str = DEFAULT_METRIC
) -> list[Comparison]:
    """Programs of two runs side by side, those whose `metric` changed most first.

    Rows of `old` without a target are of every target; a program is found under another
    object's name where no object of that name is in `old`. Changed verdicts come first,
    programs that are only in one run last.
    """
    pairs = [Comparison(_match(row, old), row) for row in new]
    matched = {id(pair.old) for pair in pairs}
    gone = [
        Comparison(row, None)
        for row in old
        if id(row) not in matched
        and _covers(row, new, "target")
        and _covers(row, new, "object")
    ]
    return sorted(pairs, key=lambda pair: _order(pair, metric)) + gone


def _match(row: Row, rows: Sequence[Row]) -> Row | None:
    found = [
        each
        for each in rows
        if each["program"] == row["program"]
        and (
            each.get("target") == row.get("target")
            or None in (each.get("target"), row.get("target"))
        )
    ]
    if any(each.get("object") == row.get("object") for each in rows):
        found = [each for each in found if each.get("object") == row.get("object")]
    return found[0] if len(found) == 1 else None


def _covers(row: Row, rows: Sequence[Row], key: str) -> bool:
    """Whether `rows` are of the target, or object, of `row` too, as far as they say."""
    values = {each.get(key) for each in rows}
    return row.get(key) is None or None in values or row[key] in values


def _order(pair: Comparison, metric: str) -> tuple[int, float, int, str]:
    old, new = pair.verdicts
    change = pair[metric]
    rank = 2 if old is None else int(old == new)
    grown = abs(change.difference or 0)
    share = float("inf") if grown and change.percent is None else abs(change.percent or 0)
    return rank, -share, -grown, str(pair.names.get("program"))


@dataclass(frozen=True)
class Bound:
    """How much a figure may grow."""

    metric: str
    amount: float
    percent: bool

    @classmethod
    def parse(cls, text: str) -> Bound:
        """ "10%", "500", "total_states=5%". Raises InvalidArgument."""
        name, equals, amount = text.rpartition("=")
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", amount.strip())
        if found is None:
            raise InvalidArgument("--max-increase", f"{text!r} is not [METRIC=]N or N%")
        chosen = metric_named(name.strip(), "--max-increase") if equals else DEFAULT_METRIC
        return cls(chosen, float(found[1]), bool(found[2]))

    def exceeded(self, pair: Comparison) -> bool:
        """Whether a program is beyond it; one that is in one run only is not."""
        change = pair[self.metric]
        grown = change.difference or 0
        if grown <= 0:
            return False
        if not self.percent:
            return grown > self.amount
        # From nothing to something is more than any percentage.
        return change.percent is None or 100 * grown > self.amount * (change.old or 0)

    def __str__(self) -> str:
        return f"{self.amount:g}{'%' * self.percent}"


def metric_named(name: str, option: str) -> str:
    """A metric by its name or its name in tables; raises InvalidArgument."""
    chosen = _BY_HEADING.get(name, name)
    if chosen not in METRICS:
        known = ", ".join(METRICS)
        raise InvalidArgument(option, f"there is no figure {name!r}; there are {known}")
    return chosen


def read_rows(text: str, where: str) -> list[dict[str, Any]]:
    """Rows that `bpfctl verify -o json` or `-o jsonl` wrote; raises InvalidArgument."""
    try:
        rows = json.loads(text) if text.lstrip().startswith("[") else None
        if rows is None:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise InvalidArgument(where, f"not JSON: {error}") from None
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("program"), str):
            raise InvalidArgument(where, "not what `bpfctl verify -o json` writes")
        if not isinstance(row.get("verdict"), str):
            raise InvalidArgument(where, "a comparison is no baseline: save it without one")
    return list(rows)
