# SPDX-License-Identifier: Apache-2.0
"""Two profiles in one tree: what became more, what less."""

from __future__ import annotations

from bpfctl.errors import InvalidArgument
from bpfctl.profiles import amounts, folded, tree
from bpfctl.profiles.model import Profile
from bpfctl.profiles.tree import ALL, FlameGraph, Functions, Node
from bpfctl.symbols.frame import JIT


def of(before: Profile, after: Profile) -> FlameGraph:
    """The tree of both, `before` scaled to the sum of `after`: a longer or busier profile is
    not more of everything.

    Folded stacks know no modules and no processes; where one profile has none of them, they
    are left out of the other. InvalidArgument when the units differ or one has no samples.
    """
    if before.unit != after.unit:
        raise InvalidArgument(
            "profile",
            f"{before.unit} cannot be compared with {after.unit}: both must count one",
        )
    totals = before.total, after.total
    if not all(totals):
        raise InvalidArgument("profile", "there is nothing to compare: one has no samples")
    if _plain(before) != _plain(after):
        before, after = _as_folded(before), _as_folded(after)
    root = Node(ALL)
    functions = Functions()
    with tree.without_collector():
        tree.add_all(root, after.samples, functions)
        tree.add_all(root, before.samples, functions, before=True)
        _scale(root, *totals)
    graph = tree.headed(root, after)
    graph.differential = True
    graph.title = f"{_named(after, 'after')} against {_named(before, 'before')}"
    graph.missed = {
        f"{when}: {why}": count
        for when, profile in (("before", before), ("after", after))
        for why, count in profile.missed.items()
    }
    graph.notes.append(
        f"before {amounts.amount(totals[0], before.unit)}"
        + (f" in {before.duration_s:.4g} s" if before.duration_s else "")
        + (", scaled to the sum of after" if totals[0] != totals[1] else "")
    )
    return graph


def _named(profile: Profile, otherwise: str) -> str:
    return profile.title or otherwise


def _plain(profile: Profile) -> bool:
    """Whether it tells no processes, and modules no better than folded stacks do."""
    return not any(
        sample.comm or any(frame.module not in ("", JIT) for frame in sample.stack)
        for sample in profile.samples
    )


def _as_folded(profile: Profile) -> Profile:
    plain = folded.read("".join(folded.write(profile)))
    return Profile(
        plain.samples,
        profile.unit,
        profile.period,
        profile.duration_s,
        profile.started,
        profile.missed,
        profile.target,
        profile.title,
    )


def _scale(root: Node, before: int, after: int) -> None:
    """Whole numbers that keep the order: a caller never gets less than what it calls."""
    if before == after:
        return
    for _, node in root.walk():
        node.before = node.before * after // before
        node.own_before = node.own_before * after // before
