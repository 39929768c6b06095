# SPDX-License-Identifier: Apache-2.0
"""Numbers as `bpfctl top` shows them, and the screen in a terminal of some size."""

from __future__ import annotations

import io

import pytest
from bpfctl.cli import show_top
from bpfctl.run_times import Described, Interval, Load
from rich.console import Console

from bpfd.v1 import target_pb2


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.5, "0.5"), (12, "12"), (9999, "9999"), (34_200, "34.2k"), (123_456, "123k"),
     (5_600_000, "5.6M"), (2e9, "2.0G")],
)  # fmt: skip
def test_rates(number: float, text: str) -> None:
    assert show_top.rate(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(87.4, "87 ns"), (1234, "1.2 us"), (123_456, "123 us"), (3.4e6, "3.4 ms"), (2e9, "2.0 s")],
)
def test_durations(number: float, text: str) -> None:
    assert show_top.duration(number) == text


@pytest.mark.parametrize(("number", "text"), [(0.0123, "0.012 %"), (12.34, "12.3 %")])
def test_shares(number: float, text: str) -> None:
    assert show_top.percent(number) == text


def screen(rows: list[tuple[Load, Described]], height: int = 10, width: int = 100) -> str:
    view = show_top.View("board", target_pb2.TargetInfo(possible_cpus=4), 1.0)
    out = io.StringIO()
    console = Console(
        file=out, width=width, height=height, force_terminal=True, color_system=None
    )
    view._console = view._live.console = console
    with view:
        view.show(Interval(1.0, [load for load, _ in rows]), rows)
    return out.getvalue()


def row(number: int, name: str = "count", **fields: str) -> tuple[Load, Described]:
    return Load(number, 1.0, 5, 500), Described(
        number, "xdp", name, short_places=["xdp:eth0"], **fields
    )


def test_as_many_rows_as_there_is_room_for() -> None:
    shown = screen([row(number) for number in range(100, 130)])
    assert "100" in shown
    assert "105" not in shown
    assert "25 more" in shown
    assert "30 programs, 30 ran in 1.0 s" in shown


def test_names_do_not_steer_the_terminal() -> None:
    shown = screen([row(7, "[red]\x1b[2Jname")])
    assert "[red]" in shown
    assert "\x1b[2J" not in shown


def test_a_narrow_terminal_keeps_the_numbers() -> None:
    shown = screen([row(219621, "count_packets", object="edge")], width=80)
    assert "edge/count_packets" in shown
    assert "0.000 %" in shown
    assert "xdp:eth0" in shown
    assert "OBJECT" not in shown
    assert "OBJECT" in screen([row(219621, object="filter")], width=120)


def test_nothing_ran() -> None:
    assert "NO PROGRAM RAN" in screen([]).upper()


def test_a_summary_names_what_is_shown() -> None:
    one, two = row(1), row(2)
    found = Interval(1.0, [one[0], two[0]])
    assert show_top.summary(found, [one, two]).endswith("0.000 % of one CPU")
    assert "by the 1 shown" in show_top.summary(found, [one])
