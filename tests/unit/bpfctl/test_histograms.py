# SPDX-License-Identifier: Apache-2.0
"""Histograms: slots, merging, percentiles, and how they are drawn."""

from __future__ import annotations

import random
from typing import Any

import pytest
from bpfctl.histograms import Histogram, HistogramError, from_rows
from bpfctl.histograms.draw import MAX_LINES, lines
from bpfctl.histograms.units import count, text
from hypothesis import given
from hypothesis import strategies as st

SLOTS = 32


def slot_of(value: int, step: int) -> int:
    """As histogram_count() of bpf/include/bpfd/histogram.h."""
    return min(value // step if step else value.bit_length(), SLOTS - 1)


def of(values: list[int], step: int = 0, unit: str = "us") -> Histogram:
    slots = [0] * SLOTS
    for value in values:
        slots[slot_of(value, step)] += 1
    return Histogram(tuple(slots), step, unit, sum(values))


@given(st.integers(0, 2**40), st.sampled_from([0, 1, 7, 1000]))
def test_a_value_lies_between_the_ends_of_its_slot(value: int, step: int) -> None:
    histogram = of([value], step)
    slot = slot_of(value, step)
    end = histogram.end(slot)
    assert histogram.begin(slot) <= value
    assert end is None or value < end
    assert (end is None) == (slot == SLOTS - 1)


@given(
    st.lists(st.integers(0, 2**30), min_size=1, max_size=200),
    st.sampled_from([0, 5, 1 << 27]),
    st.sampled_from([0, 1, 50, 90, 99, 100]),
)
def test_a_percentile_is_in_the_slot_of_the_true_one(
    values: list[int], step: int, percent: int
) -> None:
    histogram = of(values, step)
    wanted = len(values) * percent / 100
    true = sorted(values)[max(0, -int(-wanted // 1) - 1)]
    slot = slot_of(true, step)
    found = histogram.percentile(percent)
    assert found is not None
    assert histogram.begin(slot) <= found
    end = histogram.end(slot)
    assert found == histogram.begin(slot) if end is None else found <= end


def test_percentiles_of_many_even_values_are_near() -> None:
    values = list(range(10_000))
    random.Random(1).shuffle(values)
    linear = of(values, 500)
    for percent in (1, 50, 90, 99):
        assert linear.percentile(percent) == pytest.approx(percent * 100, abs=1)
    # 8192 to 16383 is one slot, with values up to 9999.
    found = of(values).percentile(90)
    assert found is not None
    assert 8192 <= found < 16384


def test_of_nothing() -> None:
    empty = of([])
    assert (empty.count, empty.average, empty.percentile(50)) == (0, None, None)
    with pytest.raises(ValueError, match="from 0 to 100"):
        empty.percentile(101)


def row(key: Any, values: list[int]) -> dict[str, Any]:
    made = of(values)
    return {"key": key, "value": {"sum": made.sum, "slots": list(made.slots)}}


def test_rows_are_merged_over_the_rest_of_the_key() -> None:
    rows = [
        row({"disk": "a", "operation": "READ"}, [1, 2]),
        row({"disk": "a", "operation": "WRITE"}, [4]),
        row({"disk": "b", "operation": "READ"}, [8] * 5),
        row({"disk": "c", "operation": "READ"}, []),
    ]
    found = from_rows(rows, keys=["disk"], unit="us")
    assert [(each.labels, each.count, each.sum) for each in found] == [
        ({"disk": "b"}, 5, 40),
        ({"disk": "a"}, 3, 7),
    ]
    assert len(from_rows(rows)) == 3
    assert from_rows(rows, keys=["disk"])[1].row()["slots"] == [
        {"from": 1, "to": 2, "count": 1},
        {"from": 2, "to": 4, "count": 1},
        {"from": 4, "to": 8, "count": 1},
    ]


def test_values_that_are_plain_arrays_have_no_sum() -> None:
    (found,) = from_rows([{"key": 7, "value": [0, 3]}], step=10)
    assert (found.labels, found.count, found.sum, found.average) == ({"key": 7}, 3, None, None)


@pytest.mark.parametrize(
    ("rows", "keys", "said"),
    [
        ([{"key": 1, "value": 7}], (), "no array of integers named slots"),
        ([{"key": 1, "value": {"slots": ["a"]}}], (), "no array of integers"),
        ([{"key": 1, "value": [1]}], ("disk",), "the key is no struct"),
        ([{"key": {"cpu": 1}, "value": [1]}], ("disk",), "the key has no disk: it has cpu"),
        (
            [{"key": {"a": 1, "b": n}, "value": [1] * n} for n in (1, 2)],
            ("a",),
            "other slots cannot be merged",
        ),
    ],
)
def test_what_is_no_histogram(rows: Any, keys: tuple[str, ...], said: str) -> None:
    with pytest.raises(HistogramError, match=said):
        from_rows(rows, keys=keys)


def test_drawn() -> None:
    histogram = of([0, 1, *[700] * 8, *[1500] * 4])
    drawn = list(lines(histogram, "Time", width=60))
    assert drawn == [
        "Time",
        "  14 values, average 829 us, p50 832 us, p90 1.69 ms",
        "  p99 2.01 ms",
        "                  0 |████▌                               | 1",
        "               1 us |████▌                               | 1",
        *(
            f"  {label:>17} |{' ' * 36}| 0"
            for label in (
                *("2 us - 4 us", "4 us - 8 us", "8 us - 16 us", "16 us - 32 us"),
                *("32 us - 64 us", "64 us - 128 us", "128 us - 256 us", "256 us - 512 us"),
            )
        ),
        f"   512 us - 1.02 ms |{'█' * 36}| 8",
        f"  1.02 ms - 2.05 ms |{'█' * 18}{' ' * 18}| 4",
    ]


@given(st.integers(40, 200), st.lists(st.integers(0, 2**40), max_size=20), st.booleans())
def test_no_line_is_wider_than_the_terminal(
    width: int, values: list[int], ascii_only: bool
) -> None:
    made = of(values)
    histogram = Histogram(made.slots, 0, "us", made.sum, {"disk": "x" * 300, "flags": 0})
    for line in lines(histogram, "Time", width=width, ascii_only=ascii_only):
        assert len(line) <= width
        assert "flags" not in line
        assert line.isascii() or not ascii_only or "…" in line


def test_labels_cannot_move_the_cursor_and_many_slots_are_cut() -> None:
    histogram = Histogram((1,) * 100, 10, "bytes", None, {"name": "a\x1b[2Jb\n"})
    drawn = list(lines(histogram, "Size", ascii_only=True))
    assert "\x1b" not in "".join(drawn)
    assert len(drawn) == 2 + MAX_LINES + 1
    assert drawn[-1] == "  60 more from 400 B on"
    assert drawn[2].startswith("       0 B - 10 B |") or "10 B |" in drawn[2]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0, "us", "0"),
        (512, "us", "512 us"),
        (1024, "us", "1.02 ms"),
        (1e9, "us", "1000 s"),
        (87.25, "ns", "87.2 ns"),
        (0.5, "ns", "0.5 ns"),
        (65536, "bytes", "64 KiB"),
        (3, "MiB", "3 MiB"),
        (12345, "packets", "12.3k packets"),
        (7, "", "7"),
    ],
)
def test_numbers_in_the_unit_that_fits(value: float, unit: str, shown: str) -> None:
    assert text(value, unit) == shown


def test_counts_are_exact_up_to_ten_thousand() -> None:
    assert [count(each) for each in (9999, 10_000, 2_500_000, 3e9)] == [
        "9999",
        "10k",
        "2.5M",
        "3G",
    ]
