# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from bpfctl.btf.jsonlines import decimal, join
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", ">i2", "<u4", ">u4", "<i4", "<u8", ">i8"])
def test_digits_of_every_kind_of_integer(kind: str) -> None:
    limits = np.iinfo(kind)
    powers = [10**power + off for power in range(20) for off in (-1, 0, 1)]
    numbers = {0, limits.min, limits.max, *powers, *(-power for power in powers)}
    fitting = sorted(number for number in numbers if limits.min <= number <= limits.max)
    digits = decimal(np.array(fitting, kind))
    assert [bytes(row).replace(b"\0", b"") for row in digits] == [b"%d" % n for n in fitting]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_digits_of_any_numbers(numbers: list[int]) -> None:
    digits = decimal(np.array(numbers, "i8"))
    assert [bytes(row).replace(b"\0", b"") for row in digits] == [b"%d" % n for n in numbers]


def test_pieces_are_joined_row_by_row() -> None:
    numbers = decimal(np.array([1, 22, 333]))
    assert join([b"[", numbers, b"]"], 3) == b"[1]\n[22]\n[333]\n"
    assert join([b"[]"], 2) == b"[]\n[]\n"
    assert join([b"[]"], 0) == b""
