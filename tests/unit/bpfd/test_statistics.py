# SPDX-License-Identifier: Apache-2.0
"""Intervals between samples of run times."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from bpfd import statistics
from bpfd.errors import InvalidArgument


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Duration(), 1.0),
        (Duration(nanos=100_000_000), 0.1),
        (Duration(seconds=2, nanos=500_000_000), 2.5),
        (Duration(seconds=3600), 3600.0),
    ],
)
def test_intervals(interval: Duration, expected: float) -> None:
    assert statistics.seconds(interval) == expected


@pytest.mark.parametrize(
    "interval",
    [
        Duration(nanos=1),
        Duration(seconds=-1),
        Duration(seconds=3601),
        Duration(seconds=315_576_000_000),
    ],
)
def test_intervals_that_nobody_can_mean(interval: Duration) -> None:
    with pytest.raises(InvalidArgument, match=r"from 0\.1 s to 3600 s"):
        statistics.seconds(interval)
