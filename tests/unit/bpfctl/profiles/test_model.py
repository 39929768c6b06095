# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfctl.profiles.model import Frame, Profile, Sample


def test_total_is_the_sum_of_values() -> None:
    main = Frame("main", "/bin/app")
    assert Profile([Sample((main,), 3), Sample((main, Frame("work")), 4)]).total == 7
    assert Profile([]).total == 0
