# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bpfctl.profiles import pruned, tree
from bpfctl.profiles.model import Frame, Profile, Sample
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bpfctl.profiles import made


def test_the_lightest_go_first() -> None:
    samples = [Sample((Frame("f"), Frame(f"g{n}")), n) for n in (1, 2, 3, 3, 4)]
    root = tree.of(Profile(samples)).root
    found = pruned.prune(root, 4)
    assert (found.least, found.nodes, found.left_out) == (3, 6, 2)
    names = [(depth, node.function.name) for depth, node in pruned.walk(root, found.kept)]
    assert names == [(0, "all"), (1, "f"), (2, "g3"), (2, "g4")]


@given(made.PROFILES, st.integers(1, 10), st.floats(0, 100))
def test_callers_of_what_is_kept_are_kept(profile: Profile, most: int, least: float) -> None:
    root = tree.of(profile).root
    found = pruned.prune(root, most, least)
    kept = [node for _, node in root.walk() if found.kept(node)]
    assert len(kept) <= most
    assert len(kept) == found.nodes - found.left_out
    below = [node for _, node in pruned.walk(root, found.kept)][1:]
    assert {id(node) for node in below} == {id(node) for node in kept if node is not root}
    assert all(node.value >= least for node in kept)
