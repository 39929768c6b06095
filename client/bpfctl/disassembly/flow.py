# SPDX-License-Identifier: Apache-2.0
"""Control flow of a function: blocks that run from first to last instruction, and edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from .instruction import GOTO_REGISTER, Instruction
from .listing import same_place
from .program import Function, Line, Program
from .text import condition, render

EdgeKind = Literal["goto", "taken", "not taken", "next"]


@dataclass(frozen=True)
class Block:
    """Instructions that run one after the other."""

    number: int
    """From 0 in the order of the function."""
    instructions: tuple[Instruction, ...]

    @property
    def start(self) -> int:
        """Index of the first instruction."""
        return self.instructions[0].index

    @property
    def last(self) -> Instruction:
        return self.instructions[-1]


@dataclass(frozen=True)
class Edge:
    """From the end of a block to the start of one."""

    source: int
    target: int
    kind: EdgeKind
    condition: str = ""
    """As in "r1 == 0"; empty: always."""

    @property
    def is_back(self) -> bool:
        """Goes to where the code was before: a loop."""
        return self.target <= self.source


@dataclass(frozen=True)
class Flow:
    """The control flow of a function."""

    function: Function
    blocks: tuple[Block, ...]
    edges: tuple[Edge, ...]

    @cached_property
    def _ends(self) -> tuple[dict[int, list[Edge]], dict[int, list[Edge]]]:
        """Edges by the block that they start in, and by the one that they end in."""
        leaving: dict[int, list[Edge]] = {}
        coming: dict[int, list[Edge]] = {}
        for edge in self.edges:
            leaving.setdefault(edge.source, []).append(edge)
            coming.setdefault(edge.target, []).append(edge)
        return leaving, coming

    def into(self, block: Block) -> list[Edge]:
        """Edges that end in a block."""
        return self._ends[1].get(block.number, [])

    def out_of(self, block: Block) -> list[Edge]:
        """Edges that start in a block."""
        return self._ends[0].get(block.number, [])

    def reachable(self) -> set[int]:
        """Numbers of the blocks that the first one leads to, itself included."""
        found: set[int] = set()
        ahead = [0] if self.blocks else []
        while ahead:
            number = ahead.pop()
            if number not in found:
                found.add(number)
                ahead.extend(edge.target for edge in self._ends[0].get(number, ()))
        return found

    @property
    def loops(self) -> int:
        """Edges that go back."""
        return sum(edge.is_back for edge in self.edges)


def flow(program: Program, function: Function) -> Flow:
    """The control flow of one function of a program."""
    code = program.code_of(function)
    leaders = {function.start}
    for each in code:
        if each.ends_block:
            leaders.add(each.following)
            if each.target is not None:
                leaders.add(each.target)
    blocks: list[list[Instruction]] = []
    for each in code:
        if each.index in leaders or not blocks:
            blocks.append([])
        blocks[-1].append(each)
    found = tuple(Block(number, tuple(block)) for number, block in enumerate(blocks))
    starts = {block.start: block.number for block in found}
    edges = tuple(edge for block in found for edge in _edges(block, starts))
    return Flow(function, found, (*edges, *_by_register(found, edges)))


def _by_register(blocks: tuple[Block, ...], edges: tuple[Edge, ...]) -> Iterator[Edge]:
    """Where to a register leads stands in a map: to all that nothing else leads to."""
    targets = {edge.target for edge in edges}
    for block in blocks:
        if block.last.opcode == GOTO_REGISTER:
            said = f"r{block.last.destination} says so"
            for other in blocks[1:]:
                if other.number not in targets:
                    yield Edge(block.number, other.number, "goto", said)


def _edges(block: Block, starts: dict[int, int]) -> Iterator[Edge]:
    last = block.last
    if last.target is not None and last.target in starts:
        conditional = last.is_conditional
        yield Edge(
            block.number,
            starts[last.target],
            "taken" if conditional else "goto",
            condition(last) if conditional else "",
        )
    if last.goes_on and last.following in starts:
        conditional = last.is_conditional
        yield Edge(
            block.number,
            starts[last.following],
            "not taken" if conditional else "next",
            condition(last, negated=True) if conditional else "",
        )


def block_lines(program: Program, block: Block, *, source: bool = True) -> Iterator[str]:
    """The instructions of a block as text, with source lines between."""
    shown: Line | None = None
    for each in block.instructions:
        line = program.line(each.index) if source else None
        if line is not None and line.text.strip() and not same_place(line, shown):
            yield f"; {line.line}: {line.text.strip()}"
        shown = line or shown
        yield f"{each.index:>5}: {render(each, program)}"


def text(program: Program, flows: Iterable[Flow], *, source: bool = True) -> Iterator[str]:
    """Flows as lines for a terminal: each block with where it comes from and goes to."""
    for number, found in enumerate(flows):
        if number:
            yield ""
        loops = f", {found.loops} back edges" if found.loops else ""
        yield f"{found.function.prototype}: {len(found.blocks)} blocks{loops}"
        reachable = found.reachable()
        for block in found.blocks:
            yield ""
            origins = [f"block {edge.source}" for edge in found.into(block)]
            dead = "" if block.number in reachable else "  (not reached)"
            comes = f"  <- {', '.join(origins)}" if origins else ""
            yield f"+ block {block.number}{comes}{dead}"
            yield from (f"| {line}" for line in block_lines(program, block, source=source))
            yield f"+{_leaving(block, found.out_of(block))}"


def _leaving(block: Block, edges: list[Edge]) -> str:
    if block.last.is_exit:
        return " exit"
    if not edges:
        return " end"
    parts = []
    for edge in edges:
        back = " (back)" if edge.is_back else ""
        when = f"  if {edge.condition}" if edge.condition else ""
        parts.append(f"-> block {edge.target}{back}{when}")
    return " " + ", ".join(parts)


def dot(program: Program, flows: Iterable[Flow], *, source: bool = True) -> Iterator[str]:
    """Flows as a graph for Graphviz: a cluster for each function."""
    yield f"digraph {quoted(program.name)} {{"
    yield '  node [shape=box fontname="monospace" fontsize=10];'
    yield '  edge [fontname="monospace" fontsize=9];'
    for found in flows:
        prefix = f"f{found.function.start}_"
        yield f"  subgraph cluster_{found.function.start} {{"
        yield f"    label={quoted(found.function.prototype)};"
        for block in found.blocks:
            lines = block_lines(program, block, source=source)
            label = "".join(escaped(line) + "\\l" for line in lines)
            yield f'    {prefix}{block.number} [label="{label}"];'
        for edge in found.edges:
            style = [f"label={quoted(edge.condition)}"] if edge.condition else []
            if edge.kind == "taken":
                style.append("color=darkgreen")
            elif edge.kind == "not taken":
                style.append("color=firebrick")
            if edge.is_back:
                style.append("style=dashed")
            attributes = f" [{' '.join(style)}]" if style else ""
            yield f"    {prefix}{edge.source} -> {prefix}{edge.target}{attributes};"
        yield "  }"
    yield "}"


def escaped(line: str) -> str:
    """Text inside a quoted string of Graphviz, without what would steer a terminal."""
    from bpfctl.printable import printable

    line = printable(line.replace("\t", " "))
    return line.replace("\\", "\\\\").replace('"', '\\"')


def quoted(line: str) -> str:
    """A string of Graphviz."""
    return f'"{escaped(line)}"'


def record(program: Program, flows: Iterable[Flow]) -> dict[str, Any]:
    """Flows with stable field names, for programs."""
    return {
        "program_id": program.id,
        "program": program.name,
        "functions": [_function_record(program, found) for found in flows],
    }


def _function_record(program: Program, found: Flow) -> dict[str, Any]:
    reachable = found.reachable()
    return {
        "name": found.function.name,
        "start": found.function.start,
        "end": found.function.end,
        "blocks": [
            {
                "block": block.number,
                "start": block.start,
                "end": block.last.following,
                "reachable": block.number in reachable,
                "instructions": [program.row(each) for each in block.instructions],
            }
            for block in found.blocks
        ],
        "edges": [
            {
                "from": edge.source,
                "to": edge.target,
                "kind": edge.kind,
                "condition": edge.condition or None,
                "back": edge.is_back,
            }
            for edge in found.edges
        ],
    }
