# SPDX-License-Identifier: Apache-2.0
"""What was seen of each function, however it was called."""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.profiles.labels import Function
from bpfctl.profiles.tree import Node


@dataclass
class Total:
    """Values of a function in all of a tree."""

    function: Function
    place: str = ""
    """FILE:LINE where most of it was seen; empty: not known."""
    own: int = 0
    value: int = 0
    """Of stacks that it is in, however often."""
    own_before: int = 0
    """In a differential tree: `own` of the first profile."""
    _heaviest: int = -1


def totals(root: Node) -> list[Total]:
    """Each function of the tree but processes, the heaviest itself first."""
    found: dict[int, Total] = {}
    above: dict[int, int] = {}
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, left = stack.pop()
        function = id(node.function)
        if left:
            above[function] -= 1
            continue
        if node.function.kind != "process":
            total = found.get(function)
            if total is None:
                total = found[function] = Total(node.function)
            total.own += node.own
            total.own_before += node.own_before
            if not above.get(function):
                total.value += node.value
            if node.value > total._heaviest:
                total._heaviest, total.place = node.value, node.place
        above[function] = above.get(function, 0) + 1
        stack.append((node, True))
        stack.extend((child, False) for child in node.children.values())
    return sorted(found.values(), key=lambda each: (-each.own, -each.value, each.function))
