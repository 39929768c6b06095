# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.verifier.compare import Bound, Change, compare, metric_named, read_rows


def row(program: str, insns: int | None = 100, **more: Any) -> dict[str, Any]:
    return {
        "object": "o",
        "program": program,
        "verdict": "accepted",
        "processed_insns": insns,
        **more,
    }


@pytest.mark.parametrize(
    ("old", "new", "difference", "percent", "text"),
    [
        (100, 100, 0, 0.0, "100"),
        (100, 117, 17, 17.0, "100 -> 117 (+17, +17.0%)"),
        (200, 100, -100, -50.0, "200 -> 100 (-100, -50.0%)"),
        (53001, 53018, 17, 0.03, "53001 -> 53018 (+17, +0.03%)"),
        (0, 8, 8, None, "0 -> 8 (+8)"),
        (0, 0, 0, 0.0, "0"),
        (None, 5, None, None, "- -> 5"),
        (5, None, None, None, "5 -> -"),
        (None, None, None, None, "-"),
    ],
)
def test_a_change(
    old: int | None, new: int | None, difference: int | None, percent: float | None, text: str
) -> None:
    change = Change(old, new)
    assert (change.difference, change.percent, str(change)) == (difference, percent, text)


def test_the_largest_change_comes_first() -> None:
    old = [row("same"), row("less"), row("more"), row("gone"), row("broke"), row("zero", 0)]
    new = [
        *(row("same"), row("less", 40), row("more", 130), row("fresh", 7)),
        *(row("broke", verdict="refused"), row("zero", 1)),
    ]
    names = [pair.names["program"] for pair in compare(old, new)]
    assert names == ["broke", "zero", "less", "more", "same", "fresh", "gone"]


def test_another_figure_to_sort_by() -> None:
    old = [row("a", total_states=1), row("b", total_states=10)]
    new = [row("a", 900, total_states=1), row("b", total_states=12)]
    by = [
        [pair.names["program"] for pair in compare(old, new, *each)]
        for each in ((), ("total_states",))
    ]
    assert by == [["a", "b"], ["b", "a"]]


def test_targets() -> None:
    old = [row("p", 1, target="a"), row("p", 2, target="b"), row("p", 3, target="c")]
    new = [row("p", 10, target="b"), row("p", 20, target="a")]
    found = {pair.names["target"]: pair["processed_insns"].old for pair in compare(old, new)}
    assert found == {"a": 1, "b": 2}  # c was not asked now
    (alone,) = compare(old[:1], [row("p", 5)])
    assert alone["processed_insns"].old == 1
    assert compare(old, [row("p", 5)])[0].old is None
    everywhere = compare([row("p", 7)], new)
    assert [pair["processed_insns"].old for pair in everywhere] == [7, 7]


def test_objects_of_other_names() -> None:
    (pair,) = compare([row("p", 1, object="old")], [row("p", 2, object="new")])
    assert pair["processed_insns"].difference == 1
    old = [row("p", 1, object="x"), row("p", 2, object="y")]
    assert compare(old, [row("p", 9, object="y")])[0]["processed_insns"].old == 2
    assert compare(old, [row("p", 9, object="z")])[0].old is None


def test_rows_of_a_comparison() -> None:
    (pair,) = compare([row("p", 100)], [row("p", 110, verdict="refused", target="t")])
    found = pair.row()
    assert list(found)[:4] == ["target", "object", "program", "verdict"]
    assert found["verdict"] == {"old": "accepted", "new": "refused"}
    assert found["processed_insns"] == {
        "old": 100,
        "new": 110,
        "difference": 10,
        "percent": 10.0,
    }
    assert pair.line(["processed_insns"]) == {
        "target": "t",
        "object": "o",
        "program": "p",
        "verdict": "accepted -> refused",
        "insns": "100 -> 110 (+10, +10.0%)",
    }


@pytest.mark.parametrize(
    ("text", "old", "new", "exceeded"),
    [
        ("10%", 100, 110, False),
        ("10%", 100, 111, True),
        ("10%", 100, 50, False),
        ("0%", 100, 100, False),
        ("0%", 100_000_000, 100_000_001, True),
        ("0.5%", 1000, 1005, False),
        ("5", 100, 105, False),
        ("5", 100, 106, True),
        ("900%", 0, 1, True),
        ("5", 0, 5, False),
        ("5", None, 50, False),
    ],
)
def test_bounds(text: str, old: int | None, new: int, exceeded: bool) -> None:
    (pair,) = compare([row("p", old)], [row("p", new)])
    assert Bound.parse(text).exceeded(pair) == exceeded
    assert not Bound.parse(f"total_states={text}").exceeded(pair)


@pytest.mark.parametrize("text", ["", "%", "-5%", "ten", "insns=", "=5%", "nothing=5%"])
def test_what_is_no_bound(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--max-increase"):
        Bound.parse(text)


def test_names_of_tables() -> None:
    assert metric_named("insns", "x") == "processed_insns"
    assert Bound.parse("stack=8").metric == "stack_bytes"


def test_reading_back() -> None:
    rows = [row("a"), row("b")]
    assert read_rows(json.dumps(rows), "f") == rows
    assert read_rows("\n".join(map(json.dumps, rows)), "f") == rows
    assert read_rows("", "f") == []
    for bad in ("{", "[1]", '{"a": 1}', json.dumps([compare(rows, rows)[0].row()])):
        with pytest.raises(InvalidArgument, match="f: "):
            read_rows(bad, "f")
