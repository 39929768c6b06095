# SPDX-License-Identifier: Apache-2.0
"""What the boards said, side by side: as JSON, as a text and as a page of the documentation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

MEASURED = ("daemon start, s", "idle PSS, MB")
"""Figures of a board that the matrix shows."""


@dataclass
class Column:
    """One board of a run."""

    board: str
    kernel: str
    seconds: float
    tests: list[dict[str, Any]] = field(default_factory=list)
    """`test`, `outcome` (passed, skipped, failed), `why`, `seconds`; those that the board ran
    on itself too."""
    facts: dict[str, Any] = field(default_factory=dict)
    repeated: list[dict[str, Any]] = field(default_factory=list)
    """`test` and `why` of what failed once and was run again."""

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [each for each in self.tests if each["outcome"] == "failed"]

    def areas(self) -> dict[str, Counter[str]]:
        """Outcomes by what is tested."""
        found: dict[str, Counter[str]] = {}
        for each in self.tests:
            found.setdefault(area(each["test"]), Counter())[each["outcome"]] += 1
        return found

    def skips(self) -> Counter[str]:
        """How many tests were skipped, by reason."""
        return Counter(each["why"] for each in self.tests if each["outcome"] == "skipped")


def area(test: str) -> str:
    """The file of a test without what all have in common."""
    return Path(test.partition("::")[0]).stem.removeprefix("test_").replace("_", " ")


def column(board: str, seconds: float, junit: Path, facts: Path) -> Column:
    """From what pytest wrote; a file that is missing tells nothing."""
    known = json.loads(facts.read_text()) if facts.exists() else {}
    inside = known.pop("on board", {})
    found = Column(board, str(known.pop("kernel", "")), round(seconds, 1), facts=known)
    found.repeated = known.pop("repeated", [])
    if junit.exists():
        for case in ElementTree.parse(junit).getroot().iter("testcase"):
            entry = _case(case)
            if not _is_told_by(inside, entry):
                found.tests.append(entry)
    else:
        entry = {
            "test": "run",
            "outcome": "failed",
            "why": "it did not end",
            "seconds": seconds,
        }
        found.tests.append(entry)
    for results in inside.values():
        found.tests += results
        found.repeated += [x for x in results if x["outcome"] == "passed" and x["why"]]
    return found


def _is_told_by(inside: dict[str, list[dict[str, Any]]], entry: dict[str, Any]) -> bool:
    """Whether what the board ran on itself stands there test by test.

    Not where it is missing, nor where the whole was judged worse than each of its tests: that
    one was skipped without need.
    """
    if area(entry["test"]) != "on board":
        return False
    module = entry["test"].partition("[")[2].rstrip("]")
    results = inside.get(module, [])
    if entry["outcome"] == "failed":
        return any(each["outcome"] == "failed" for each in results)
    return bool(results)


def _case(case: ElementTree.Element) -> dict[str, Any]:
    outcome, why = "passed", ""
    for child in case:
        if child.tag == "skipped":
            outcome, why = "skipped", child.get("message", "")
        elif child.tag in ("failure", "error"):
            outcome, why = "failed", (child.text or "")[-4000:]
    name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
    seconds = float(case.get("time", 0))
    return {"test": name, "outcome": outcome, "why": why, "seconds": seconds}


def write(columns: Sequence[Column], path: Path) -> None:
    """As JSON: a list of boards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([vars(each) for each in columns], indent=1) + "\n")


def read(path: Path) -> list[Column]:
    """What `write` wrote."""
    return [Column(**each) for each in json.loads(path.read_text())]


def merged(before: Sequence[Column], after: Sequence[Column]) -> list[Column]:
    """Columns of an earlier run, with those of the boards that ran again in their places."""
    fresh = {each.board: each for each in after}
    kept = [fresh.pop(each.board, each) for each in before]
    return [*kept, *fresh.values()]


def _rows(columns: Sequence[Column]) -> list[list[str]]:
    names = sorted({name for each in columns for name in each.areas()})
    rows = [["", *(each.board for each in columns)]]
    rows.append(["kernel", *(each.kernel.partition("-")[0] for each in columns)])
    for name in names:
        rows.append([name, *(_cell(each.areas().get(name)) for each in columns)])
    for fact in MEASURED:
        rows.append([fact, *(str(each.facts.get(fact, "")) for each in columns)])
    memory = [each.facts.get("memory", {}) for each in columns]
    for size in sorted({key for each in memory for key in each}):
        rows.append(
            [f"with {size}", *(str(each.get(size, "")).partition(":")[0] for each in memory)]
        )
    rows.append(["run twice", *(str(len(each.repeated) or "") for each in columns)])
    rows.append(["seconds", *(f"{each.seconds:.0f}" for each in columns)])
    return rows


def _cell(outcomes: Counter[str] | None) -> str:
    """ "12", "12, 3 skipped", "FAILED 1"."""
    if not outcomes:
        return ""
    parts = [f"FAILED {outcomes['failed']}"] if outcomes["failed"] else []
    if outcomes["passed"]:
        parts.append(str(outcomes["passed"]))
    if outcomes["skipped"]:
        parts.append(f"{outcomes['skipped']} skipped")
    return ", ".join(parts)


def text(columns: Sequence[Column]) -> str:
    """For a terminal: the matrix, then why tests were skipped and what failed."""
    rows = _rows(columns)
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += ["", "Skipped:"]
    lines += [
        f"  {count:4}  {', '.join(boards)}: {why}" for why, count, boards in reasons(columns)
    ]
    for each in columns:
        lines += [
            f"\n{each.board}: run twice: {entry['test']}\n{entry['why'][-1000:]}"
            for entry in each.repeated
        ]
    for each in columns:
        lines += [f"\n{each.board}: {entry['test']}\n{entry['why']}" for entry in each.failed]
    return "\n".join(lines)


def reasons(columns: Iterable[Column]) -> list[tuple[str, int, list[str]]]:
    """Reasons of skipped tests with how many on which boards, the most frequent first."""
    counts: Counter[str] = Counter()
    boards: dict[str, list[str]] = {}
    for each in columns:
        for why, count in each.skips().items():
            counts[why] += count
            boards.setdefault(why, []).append(each.board)
    return [(why, count, boards[why]) for why, count in counts.most_common()]


def page(columns: Sequence[Column]) -> str:
    """As Markdown."""
    rows = _rows(columns)
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    lines += [f"| {' | '.join(row)} |" for row in rows[1:]]
    lines += [
        "",
        "What is skipped, and why:",
        "",
        "| tests | boards | reason |",
        "|---|---|---|",
    ]
    lines += [
        f"| {count} | {', '.join(boards)} | {why.replace('|', '/')} |"
        for why, count, boards in reasons(columns)
    ]
    return "\n".join(lines) + "\n"
