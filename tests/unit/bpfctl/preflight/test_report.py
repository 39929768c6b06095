# SPDX-License-Identifier: Apache-2.0
"""From answers and dry load to a verdict."""

from __future__ import annotations

import json

import pytest
from bpfctl.preflight.answers import Answer
from bpfctl.preflight.needs import Need
from bpfctl.preflight.report import DryLoad, Fit, Report, State, judged

WELL = [DryLoad("p", True, "", 7), DryLoad("q", True)]
BADLY = [DryLoad("p", False, "R1 !read_ok"), DryLoad("q", True)]


def need(*, at_attach: bool = False, optional: bool = False, fallback: str = "") -> Need:
    return Need(
        "hook", "tcx link", None, ("p",), at_attach, optional=optional, fallback=fallback
    )


@pytest.mark.parametrize(
    ("wanted", "met", "loads", "state"),
    [
        (need(), True, BADLY, State.MET),
        (need(), False, BADLY, State.MISSING),
        # The verifier took it all the same: what needs it is dead code there.
        (need(), False, WELL, State.CHECKED),
        (need(optional=True), False, BADLY, State.CHECKED),
        # Attaching comes after the dry load, which proves nothing of it.
        (need(at_attach=True), False, WELL, State.MISSING),
        (need(at_attach=True, fallback="clsact"), False, WELL, State.FALLBACK),
        (need(), None, WELL, State.MET),
        (need(), None, BADLY, State.UNKNOWN),
        (need(at_attach=True), None, WELL, State.UNKNOWN),
    ],
)
def test_state_of_a_need(
    wanted: Need, met: bool | None, loads: list[DryLoad], state: State
) -> None:
    (found,) = judged([wanted], [Answer(met, "tried", "6.6", "newer")], loads)
    assert found.state is state
    assert (found.probe, found.since, found.helps) == ("tried", "6.6", "newer")


def report(
    wanted: Need, met: bool, loads: list[DryLoad], second: tuple[str, ...] = ()
) -> Report:
    findings = judged([wanted], [Answer(met)], loads)
    return Report("board", "6.1.0", findings, loads, {"events": "perf buffer"}, second)


def test_fit_is_the_worst() -> None:
    assert report(need(), True, WELL).fit is Fit.FITS
    assert report(need(optional=True), False, WELL).fit is Fit.FITS
    assert report(need(at_attach=True), False, WELL).fit is Fit.NOT
    assert report(need(), True, BADLY).fit is Fit.NOT
    fallback = report(need(at_attach=True, fallback="clsact"), False, WELL)
    assert fallback.fit is Fit.WITH_FALLBACK
    assert fallback.fallbacks == ["clsact instead of tcx link"]
    chosen = report(need(), True, WELL, ("events",))
    assert chosen.fit is Fit.WITH_FALLBACK
    assert chosen.fallbacks == ["perf buffer for events"]


def test_row_is_stable() -> None:
    row = json.loads(json.dumps(report(need(at_attach=True), False, WELL).row()))
    assert row == {
        "target": "board",
        "fit": "does not fit",
        "kernel": "6.1.0",
        "fallbacks": [],
        "choices": {"events": "perf buffer"},
        "needs": [
            {
                "kind": "hook",
                "need": "tcx link",
                "state": "missing",
                "since": "",
                "fallback": "",
                "probe": "",
                "helps": "",
                "programs": ["p"],
            }
        ],
        "programs": [
            {"program": "p", "accepted": True, "processed_insns": 7, "why": ""},
            {"program": "q", "accepted": True, "processed_insns": 0, "why": ""},
        ],
    }
