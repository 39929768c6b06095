# SPDX-License-Identifier: Apache-2.0
"""Trees with as many nodes as a picture can hold."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfctl.profiles.tree import Node


@dataclass(frozen=True)
class Pruned:
    """Which nodes of a tree are kept."""

    least: int
    """Nodes of at least this value are kept, before or now."""
    nodes: int
    """How many there are."""
    left_out: int
    """How many of them are not kept."""

    def kept(self, node: Node) -> bool:
        return max(node.value, node.before) >= self.least


def prune(root: Node, most: int, least: float = 0) -> Pruned:
    """Keeps the heaviest nodes, at most `most` and each of at least `least`.

    A parent is never lighter than its child, so what is kept hangs together. Nodes of the
    same value are kept together or not at all.
    """
    values = [max(node.value, node.before) for node in _nodes(root)]
    floor = max(1, -int(-least // 1))
    above = [value for value in values if value >= floor]
    if len(above) > most:
        floor = heapq.nlargest(most + 1, above)[-1] + 1
        above = [value for value in above if value >= floor]
    return Pruned(floor, len(values), len(values) - len(above))


def _nodes(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children.values())


def walk(root: Node, keep: Callable[[Node], bool]) -> Iterator[tuple[int, Node]]:
    """(depth, node) of the root and of what is kept below it, parents first, children by
    name."""
    stack = [(0, root)]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        if node.children:
            children = [child for child in node.children.values() if keep(child)]
            children.sort(key=lambda child: child.function, reverse=True)
            stack.extend((depth + 1, child) for child in children)
