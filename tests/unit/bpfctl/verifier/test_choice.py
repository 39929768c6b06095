# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from bpfctl.elf import Function
from bpfctl.errors import NotFound
from bpfctl.verifier.choice import chosen

PROGRAMS = [
    Function("xdp_one", "xdp", 0, 8),
    Function("xdp_two", "?xdp", 8, 8),
    Function("tc_one", "tc", 0, 8),
]
OBJECT = cast("Any", SimpleNamespace(programs=PROGRAMS))


@pytest.mark.parametrize(
    ("patterns", "left_out", "names"),
    [
        ((), (), ["xdp_one", "tc_one"]),
        (("*",), (), ["xdp_one", "xdp_two", "tc_one"]),
        (("xdp_*",), (), ["xdp_one", "xdp_two"]),
        (("tc*", "*_two"), (), ["xdp_two", "tc_one"]),
        ((), ("tc*",), ["xdp_one"]),
        (("*",), ("*_one",), ["xdp_two"]),
        (("tc*",), ("tc*",), []),
    ],
)
def test_patterns(
    patterns: tuple[str, ...], left_out: tuple[str, ...], names: list[str]
) -> None:
    assert chosen(OBJECT, patterns, left_out) == names


@pytest.mark.parametrize(("patterns", "left_out"), [(("xpd_one",), ()), ((), ("xpd_one",))])
def test_a_pattern_that_fits_none(patterns: tuple[str, ...], left_out: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="did you mean xdp_one"):
        chosen(OBJECT, patterns, left_out)
    assert chosen(OBJECT, patterns, left_out, strict=False) == (
        [] if patterns else ["xdp_one", "tc_one"]
    )
