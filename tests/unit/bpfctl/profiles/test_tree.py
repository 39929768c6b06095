# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfctl.profiles import labels, tree
from bpfctl.profiles.model import Frame, Profile, Sample
from bpfctl.profiles.totals import totals
from hypothesis import given

from tests.unit.bpfctl.profiles import made

A, B = Frame("a", "/bin/x", "x.c", 1), Frame("b", "/bin/x", "x.c", 2)


def test_frames_of_one_function_are_one_node() -> None:
    again = Frame("a", "/bin/x", "x.c", 7, address=9)
    graph = tree.of(Profile([Sample((A, B), 2), Sample((again,), 3)]))
    (a,) = graph.root.sorted()
    assert (a.value, a.own, a.place) == (5, 3, "x.c:7")
    (b,) = a.sorted()
    assert (b.value, b.own) == (2, 2)


def test_functions_of_two_modules_are_two_nodes() -> None:
    other = Frame("a", "/bin/y")
    graph = tree.of(Profile([Sample((A,), 2), Sample((other,), 3)]))
    assert [(node.function.module, node.value) for node in graph.root.sorted()] == [
        ("/bin/x", 2),
        ("/bin/y", 3),
    ]


@given(made.PROFILES)
def test_values_add_up(profile: Profile) -> None:
    root = tree.of(profile).root
    assert root.value == profile.total
    assert sum(node.own for _, node in root.walk()) == profile.total
    for _, node in root.walk():
        assert node.value == node.own + sum(each.value for each in node.children.values())
    own = {each.function: each.own for each in totals(root)}
    for sample in profile.samples:
        if sample.stack:
            assert own[labels.function(sample.stack[-1])] >= sample.value


def test_a_function_that_calls_itself_counts_once() -> None:
    found = totals(tree.of(Profile([Sample((A, B, A), 2), Sample((A,), 1)], "bytes")).root)
    assert [(each.function.name, each.own, each.value) for each in found] == [
        ("a", 3, 3),
        ("b", 0, 2),
    ]


def test_the_place_is_where_most_was_seen() -> None:
    light = Frame("a", "/bin/x", "x.c", 99)
    found = totals(tree.of(Profile([Sample((B, light), 2), Sample((A,), 5)])).root)
    assert found[0].place == "x.c:1"
