# SPDX-License-Identifier: Apache-2.0
"""Rows of the benchmark's result."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench import result


def test_ratio_above_one_means_that_ours_is_better() -> None:
    rate = result.compare("rate", "M/s", [4, 6, 5], [2, 1, 3], "peer", more_is_better=True)
    assert (rate.ours, rate.peer, rate.ratio) == (5, 2, 2.5)
    time = result.compare("time", "s", [1.0], [4.0], "peer", more_is_better=False)
    assert time.ratio == 4
    assert result.compare("n", "", [0], [0.0], "peer", more_is_better=False).ratio == 1
    assert result.compare("n", "", [3], [0.0], "peer", more_is_better=False).ratio is None
    assert result.compare("n", "", [3], [], "peer", more_is_better=False).peer is None


def test_rows_are_written_and_shown(tmp_path: Path) -> None:
    rows = [
        result.compare(
            "rate",
            "M/s",
            [1 / 3],
            [1.0],
            "peer",
            more_is_better=True,
            ours_lost=0.0,
            peer_lost=0.5,
        )
    ]
    path = tmp_path / "new" / "core.json"
    result.write(rows, path)
    (row,) = json.loads(path.read_text())
    assert row["name"] == "rate"
    assert (row["ours"], row["peer"], row["ratio"]) == (0.3333, 1.0, 0.3333)
    assert {"unit", "peer_name", "ours_lost", "peer_lost"} <= row.keys()
    shown = result.table(rows)
    assert "50.0%" in shown
    assert "0.33" in shown
