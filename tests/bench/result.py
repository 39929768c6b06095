# SPDX-License-Identifier: Apache-2.0
"""Rows of the result: what was measured, ours and a peer's, side by side."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` above 1: ours is better."""

    name: str
    unit: str
    ours: float
    peer: float | None
    peer_name: str
    ratio: float | None
    ours_lost: float | None = None
    """Share of the records that were lost, 0 to 1; None: nothing can be lost."""
    peer_lost: float | None = None
    note: str = ""


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float] | None,
    peer_name: str,
    *,
    more_is_better: bool,
    ours_lost: float | None = None,
    peer_lost: float | None = None,
    note: str = "",
) -> Row:
    """A row from the rounds of both sides: medians and their ratio."""
    mine = statistics.median(ours)
    theirs = statistics.median(peer) if peer else None
    ratio = None
    if theirs == mine:
        ratio = 1.0
    elif theirs is not None and mine > 0 and theirs > 0:
        ratio = mine / theirs if more_is_better else theirs / mine
    return Row(name, unit, mine, theirs, peer_name, ratio, ours_lost, peer_lost, note)


def write(rows: Sequence[Row], path: Path) -> None:
    """As JSON, for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = [
        {
            key: float(f"{value:.4g}") if isinstance(value, float) else value
            for key, value in asdict(row).items()
        }
        for row in rows
    ]
    path.write_text(json.dumps(rounded, indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """As text, for people."""
    lines = [("", "unit", "ours", "lost", "peer", "lost", "ratio", "")]
    for row in rows:
        lines.append(
            (
                row.name,
                row.unit,
                f"{row.ours:.4g}",
                _share(row.ours_lost),
                "-" if row.peer is None else f"{row.peer:.4g}",
                _share(row.peer_lost),
                "-" if row.ratio is None else f"{row.ratio:.2f}",
                "; ".join(filter(None, (row.peer_name, row.note))),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(8)]
    text = []
    for line in lines:
        cells = [
            cell.ljust(width) if column in (0, 1, 7) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def _share(lost: float | None) -> str:
    return "" if lost is None else f"{lost:.1%}" if lost else "0"
