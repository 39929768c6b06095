# SPDX-License-Identifier: Apache-2.0
"""Stacks as a tree: what flame graphs and reports are drawn from."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bpfctl.profiles import labels
from bpfctl.profiles.labels import Function
from bpfctl.profiles.model import Frame, Profile, Sample

ALL = Function("all", "", "process")


class Node:
    """A function that was called in one way."""

    __slots__ = ("before", "children", "frame", "function", "own", "own_before", "value")

    def __init__(self, function: Function, frame: Frame | None = None) -> None:
        self.function = function
        self.frame = frame
        """Of the heaviest stack through it: its file and line are shown."""
        self.value = 0
        """Of all stacks through it."""
        self.own = 0
        """Of the stacks that end in it."""
        self.before = 0
        """In a differential tree: `value` of the first profile, in the sum of the second."""
        self.own_before = 0
        self.children: dict[int, Node] = {}
        """By the identity of their function, which is one object in one tree."""

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


@dataclass
class Functions:
    """Gives frames that are drawn as one the same object."""

    of_frames: dict[int, Function] = field(default_factory=dict)
    known: dict[Function, Function] = field(default_factory=dict)

    def one(self, function: Function) -> Function:
        return self.known.setdefault(function, function)

    def of(self, frame: Frame) -> Function:
        """`frame` must live as long as this."""
        found = self.of_frames.get(id(frame))
        if found is None:
            found = self.of_frames[id(frame)] = self.one(labels.function(frame))
        return found


def of(profile: Profile) -> FlameGraph:
    """The tree of a profile; processes stand below the root."""
    root = Node(ALL)
    with without_collector():
        add_all(root, profile.samples, Functions())
    return headed(root, profile)


def add_all(
    root: Node, samples: Iterable[Sample], functions: Functions, *, before: bool = False
) -> None:
    """Adds to `value` and `own` of the nodes, or to `before` and `own_before`."""
    for sample in sorted(samples, key=lambda sample: -sample.value):
        path = _path(root, sample, functions)
        value = sample.value
        if before:
            for node in path:
                node.before += value
            path[-1].own_before += value
        else:
            for node in path:
                node.value += value
            path[-1].own += value


def _path(root: Node, sample: Sample, functions: Functions) -> list[Node]:
    """From the root on; what is missing of it is made."""
    node = root
    path = [node]
    if name := labels.process(sample):
        node = _child(node, functions.one(Function(name, "", "process")), None)
        path.append(node)
    known = functions.of_frames
    for frame in sample.stack:
        function = known.get(id(frame)) or functions.of(frame)
        child = node.children.get(id(function))
        if child is None:
            child = node.children[id(function)] = Node(function, frame)
        node = child
        path.append(node)
    return path


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Millions of nodes that all stay would be looked through for garbage again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


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
    child = node.children.get(id(function))
    if child is None:
        child = node.children[id(function)] = Node(function, frame)
    return child
