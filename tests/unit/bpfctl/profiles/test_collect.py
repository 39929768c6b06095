# SPDX-License-Identifier: Apache-2.0
"""How often the maps are read."""

from __future__ import annotations

import pytest
from bpfctl.profiles.collect import LONGEST, SHORTEST, next_pause


@pytest.mark.parametrize(
    ("pause", "full", "wanted"),
    [
        (1.0, 0.1, LONGEST),
        (1.0, 0.6, 0.5),
        (0.5, 0.4, 0.5),
        (0.3, 0.0, 0.6),
        (0.15, 1.0, SHORTEST),
    ],
)
def test_fuller_maps_are_read_more_often(pause: float, full: float, wanted: float) -> None:
    assert next_pause(pause, full) == pytest.approx(wanted)
