# SPDX-License-Identifier: Apache-2.0
"""Stacks as a tree: what flame graphs and reports are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bpfctl.profiles import labels
from bpfctl.profiles.labels import Function
from bpfctl.profiles.model import Frame, Profile

ALL = Function("all", "", "process")


class Node:
    """A function that was called in one way."""

    __slots__ = ("before", "children", "frame", "function", "own", "value")

    def __init__(self, function: Function, frame: Frame | None = None) -> None:
        self.function = function
        self.frame = frame
        """Of the heaviest stack through it: its file and line are shown."""
        self.value = 0
        """Of all stacks through it."""
        self.own = 0
        """Of the stacks that end in it."""
        self.before = 0
        """In a differential tree: `value` of the first profile."""
        self.children: dict[Function, Node] = {}

    @property
    def place(self) -> str:
        """FILE:LINE; empty: not known."""
        return self.frame.place if self.frame else ""

    def sorted(self) -> list[Node]:
        """The children by name, as flame graphs have them."""
        return sorted(self.children.values(), key=lambda node: node.function)

    def walk(self) -> Iterator[tuple[int, Node]]:
        """(depth, node) from here on, parents first, children by name."""
        stack = [(0, self)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            if node.children:
                stack.extend((depth + 1, child) for child in reversed(node.sorted()))


@dataclass
class FlameGraph:
    """A tree with what is said beside it."""

    root: Node
    unit: str
    title: str = ""
    target: str = ""
    duration_s: float = 0.0
    period: int = 0
    started: datetime | None = None
    missed: Mapping[str, int] = field(default_factory=dict)
    differential: bool = False
    notes: list[str] = field(default_factory=list)


def of(profile: Profile) -> FlameGraph:
    """The tree of a profile; processes stand below the root."""
    root = Node(ALL)
    functions: dict[int, Function] = {}
    interned: dict[Function, Function] = {}
    for sample in sorted(profile.samples, key=lambda sample: -sample.value):
        value = sample.value
        node = root
        node.value += value
        if name := labels.process(sample):
            function = Function(name, "", "process")
            node = node.children.get(function) or _child(node, function, None)
            node.value += value
        for frame in sample.stack:
            known = functions.get(id(frame))
            if known is None:
                known = labels.function(frame)
                known = functions[id(frame)] = interned.setdefault(known, known)
            node = node.children.get(known) or _child(node, known, frame)
            node.value += value
        node.own += value
    return headed(root, profile)


def headed(root: Node, profile: Profile) -> FlameGraph:
    """A tree with what `profile` says about itself."""
    return FlameGraph(
        root,
        profile.unit,
        profile.title,
        profile.target,
        profile.duration_s,
        profile.period,
        profile.started,
        profile.missed,
    )


def _child(node: Node, function: Function, frame: Frame | None) -> Node:
    child = node.children[function] = Node(function, frame)
    return child


@dataclass
class Total:
    """What was seen of one function, however it was called."""

    function: Function
    place: str = ""
    own: int = 0
    value: int = 0
    """Of stacks that it is in, however often."""


def functions(profile: Profile) -> list[Total]:
    """Each function's own and whole value; the heaviest itself first."""
    known: dict[int, Total] = {}
    found: dict[Function, Total] = {}
    for sample in sorted(profile.samples, key=lambda sample: -sample.value):
        through: dict[int, Total] = {}
        total = None
        for frame in sample.stack:
            total = known.get(id(frame))
            if total is None:
                function = labels.function(frame)
                total = found.setdefault(function, Total(function, frame.place))
                known[id(frame)] = total
            through[id(total)] = total
        if total is not None:
            total.own += sample.value
        for each in through.values():
            each.value += sample.value
    return sorted(found.values(), key=lambda each: (-each.own, -each.value, each.function))
