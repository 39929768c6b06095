# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfctl.preflight import substitutes
from bpfctl.preflight.needs import Need
from bpfctl.preflight.report import Finding, State

from bpfd import features

HELPER = Need("helper", "bpf_ringbuf_reserve (xdp)", ("helper", (131, 6, 37)))


def finding(need: Need, state: State = State.MISSING) -> Finding:
    return Finding(need, state, "tried", "5.8", "a newer kernel")


def test_only_what_is_missing_is_tried() -> None:
    fentry = Need("hook", "fentry")
    found = [finding(fentry), finding(fentry), finding(Need("map type", "ringbuf"), State.MET)]
    names = [need.name for need in substitutes.to_try(found)]
    assert names == ["kprobe", "tp_btf"]


def test_only_what_works_there_is_said() -> None:
    found = [finding(Need("hook", "fentry"))]
    (kprobe,) = substitutes.with_help(found, {("hook", "kprobe"), ("hook", "tp_btf")})
    assert kprobe.helps.startswith('works here: SEC("kprobe/FUNCTION")')
    assert kprobe.helps.endswith("; else: a newer kernel")
    (other,) = substitutes.with_help(found, {("hook", "tp_btf")})
    assert "tp_btf" in other.helps
    assert substitutes.with_help(found, set()) == found


def test_an_older_helper_is_asked_for_by_the_same_program_type() -> None:
    (older,) = substitutes.of(HELPER)
    assert older.need.ask == ("helper", (25, 6, 37))
    (helped,) = substitutes.with_help([finding(HELPER)], {older.need.key})
    assert "bpf_perf_event_output() into a perf buffer" in helped.helps


def test_features_that_are_asked_for_exist() -> None:
    for items in substitutes._BY_NEED.values():
        for item in items:
            assert item.need.ask is not None
            assert item.need.ask[1] in features.PROBES
