# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.profiles import differential, folded
from bpfctl.profiles.model import Frame, Profile, Sample
from bpfctl.profiles.totals import totals
from hypothesis import assume, given, settings

from tests.unit.bpfctl.profiles import made

A, B, C = Frame("a", "/bin/x"), Frame("b", "/bin/x"), Frame("c", "/bin/x")


def values(before: Profile, after: Profile) -> dict[str, tuple[int, int]]:
    """(before, after) by name"""
    graph = differential.of(before, after)
    return {node.function.name: (node.before, node.value) for _, node in graph.root.walk()}


def test_the_first_is_scaled_to_the_second() -> None:
    before = Profile([Sample((A,), 30), Sample((B,), 10)])
    after = Profile([Sample((A,), 200), Sample((C,), 200)])
    assert values(before, after) == {
        "all": (400, 400),
        "a": (300, 200),
        "b": (100, 0),
        "c": (0, 200),
    }


def test_a_profile_against_itself_is_no_change() -> None:
    graph = differential.of(made.small(), made.small())
    assert all(node.before == node.value for _, node in graph.root.walk())
    assert all(each.own == each.own_before for each in totals(graph.root))
    assert graph.differential
    assert graph.title == "CPU samples, 99 Hz of app against CPU samples, 99 Hz of app"
    assert graph.missed == {
        "before: stacks found no room": 3,
        "after: stacks found no room": 3,
    }
    assert graph.notes == ["before 100 samples in 2.5 s"]


def test_folded_stacks_against_a_profile_with_modules() -> None:
    plain = folded.read("".join(folded.write(made.small())))
    for before, after in ((plain, made.small()), (made.small(), plain)):
        graph = differential.of(before, after)
        assert graph.root.value == 100
        assert all(node.before == node.value for _, node in graph.root.walk())


@settings(max_examples=40, deadline=None)
@given(made.PROFILES, made.PROFILES)
def test_a_caller_never_has_less_than_what_it_calls(before: Profile, after: Profile) -> None:
    after.unit = before.unit
    assume(before.total and after.total)
    root = differential.of(before, after).root
    assert root.before == root.value == after.total
    for _, node in root.walk():
        assert node.value >= sum(each.value for each in node.children.values())
        assert node.before >= sum(each.before for each in node.children.values())


def test_what_cannot_be_compared() -> None:
    one = Profile([Sample((A,), 1)])
    with pytest.raises(InvalidArgument, match="nanoseconds"):
        differential.of(one, Profile([Sample((A,), 1)], "nanoseconds"))
    with pytest.raises(InvalidArgument, match="no samples"):
        differential.of(one, Profile([]))
