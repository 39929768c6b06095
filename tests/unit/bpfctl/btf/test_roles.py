# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.btf import BtfValueError
from bpfctl.btf.roles import Boolean, Duration, Enumeration, Number
from hypothesis import given
from hypothesis import strategies as st

LARGE = st.integers(-(2**63), 2**63 - 1)


@given(LARGE, st.booleans())
def test_durations_are_exact(nanoseconds: int, clock: bool) -> None:
    role = Duration("__s64", 64, True, clock)
    text = role.format(nanoseconds)
    assert role.read(text, "") == nanoseconds


@pytest.mark.parametrize(
    ("nanoseconds", "duration", "clock"),
    [
        (0, "0ns", "0s"),
        (999, "999ns", "0.000000999s"),
        (1_500, "1.5us", "0.0000015s"),
        (-1_500_000, "-1.5ms", "-0.0015s"),
        (2_000_000_000, "2s", "2s"),
        (12_345_678_901, "12.345678901s", "12.345678901s"),
    ],
)
def test_durations_as_people_read_them(nanoseconds: int, duration: str, clock: str) -> None:
    assert Duration("t", 64, True, False).format(nanoseconds) == duration
    assert Duration("t", 64, True, True).format(nanoseconds) == clock


@given(LARGE)
def test_numbers_in_any_notation(number: int) -> None:
    role = Number("__s64", 64, True, "little")
    for text in (str(number), hex(number), bin(number), oct(number)):
        assert role.read(text, "") == number


@pytest.mark.parametrize(
    "text", ["", "1.0", "0x", "010", "1e3", "ten", "9" * 5000, "'ab'", "--1"]
)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(BtfValueError, match="__u8"):
        Number("__u8", 8, False, "little").read(text, "")
    with pytest.raises(BtfValueError, match="__u8"):
        Number("__u8", 8, False, "little").read(1.5, "")


def test_characters_and_addresses_are_numbers_too() -> None:
    assert Number("__u8", 8, False, "little").read("'a'", "") == 97
    assert Number("__u32", 32, False, "little").read("10.0.0.1", "") == 0x0100000A
    assert Number("__u32", 32, False, "big").read("10.0.0.1", "") == 0x0A000001
    with pytest.raises(BtfValueError, match="not an IPv4 address"):
        Number("__u32", 32, False, "big").read("10.0.0.1000", "")


def test_enums_of_flags_and_others() -> None:
    flags = Enumeration("enum f", 32, False, [("NONE", 0), ("A", 1), ("B", 2), ("C", 4)])
    assert [flags.show(raw) for raw in (0, 1, 6, 9, 8)] == ["NONE", "A", "B|C", "A|0x8", 8]
    assert flags.read("a|C|0x10", "") == 21
    two = Enumeration("enum t", 32, False, [("A", 1), ("B", 2)])
    assert two.show(3) == 3
    doubles = Enumeration("enum d", 32, False, [("FIRST", 1), ("SECOND", 1)])
    assert doubles.show(1) == "FIRST"
    assert doubles.read("SECOND", "") == 1


def test_negative_enum_values_of_old_compilers() -> None:
    # Without the flag for signed enums -2 was written as 0xfffffffe.
    old = Enumeration("enum e", 32, False, [("MINUS", 0xFFFFFFFE)])
    assert old.show(0xFFFFFFFE) == "MINUS"
    assert old.read("MINUS", "") == 0xFFFFFFFE
    signed = Enumeration("enum e", 32, True, [("MINUS", -2)])
    assert signed.show(-2) == "MINUS"
    assert signed.read("MINUS", "") == -2


def test_booleans() -> None:
    role = Boolean("_Bool", 8, False)
    assert [role.show(raw) for raw in (0, 1, 2)] == [False, True, 2]
    assert [role.read(text, "") for text in ("Yes", "off", "1", "0x0", True)] == [1, 0, 1, 0, 1]
    assert role.format(True) == "true"
