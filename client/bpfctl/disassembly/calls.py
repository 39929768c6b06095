# SPDX-License-Identifier: Apache-2.0
"""Who calls whom: functions of programs, functions of the kernel, maps, tail calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bpfd.v1 import common_pb2

from .flow import quoted
from .instruction import TAIL_CALL, Call
from .program import Program, map_name

NodeKind = Literal["program", "function", "kernel", "map"]
EdgeKind = Literal["has", "calls", "uses", "tail calls", "holds"]


@dataclass(frozen=True)
class Node:
    """A program, one of its functions, a function of the kernel, or a map."""

    key: str
    """Unique in the graph: "program 7", "map 3", "function 7 main", "kernel bpf_..."."""
    kind: NodeKind
    name: str
    id: int = 0
    """Of programs and maps."""
    type: str = ""


@dataclass(frozen=True)
class Edge:
    """From one node to another, by key."""

    source: str
    target: str
    kind: EdgeKind
    count: int = 1
    """How often it stands in the code."""
    keys: tuple[int, ...] = ()
    """Of a prog array: the indices that hold the program."""


@dataclass
class CallGraph:
    """Nodes by key, and edges."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def leaving(self) -> dict[str, list[Edge]]:
        """Edges by the node that they start at."""
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.source, []).append(edge)
        return found


def graph(programs: Iterable[Program], held: Mapping[int, Mapping[int, int]]) -> CallGraph:
    """The call graph of programs; `held` are the program ids in prog arrays, by map and index.

    Programs that are in an array and not among `programs` become nodes without functions.
    """
    found = CallGraph()
    for program in programs:
        _add_program(found, program)
    for number, entries in held.items():
        by_program: dict[int, list[int]] = {}
        for index, program_id in sorted(entries.items()):
            by_program.setdefault(program_id, []).append(index)
        for program_id, indices in by_program.items():
            key = f"program {program_id}"
            found.nodes.setdefault(key, Node(key, "program", "", program_id))
            found.edges.append(Edge(f"map {number}", key, "holds", keys=tuple(indices)))
    return found


def _add_program(found: CallGraph, program: Program) -> None:
    from bpfctl.listing import map_type, program_type

    message = program.message.program
    own = f"program {program.id}"
    found.nodes[own] = Node(
        own, "program", program.name, program.id, str(program_type(message.type))
    )
    keys = {
        each.start: f"function {program.id} {each.name}@{each.start}"
        for each in program.functions
    }
    for function in program.functions:
        key = keys[function.start]
        found.nodes[key] = Node(key, "function", function.name)
        if function.start == 0:
            found.edges.append(Edge(own, key, "has"))
    found.edges += _calls(found, program, keys)
    tail_calls = any(
        each.is_call and each.source == Call.HELPER and each.immediate == TAIL_CALL
        for each in program.instructions
    )
    for entry in program.message.maps:
        key = f"map {entry.id}"
        kind = map_type(entry.type)
        found.nodes[key] = Node(key, "map", map_name(entry), entry.id, str(kind))
        array = entry.type == common_pb2.MAP_TYPE_PROG_ARRAY
        found.edges.append(Edge(own, key, "tail calls" if array and tail_calls else "uses"))


def _calls(found: CallGraph, program: Program, keys: dict[int, str]) -> list[Edge]:
    counts: dict[tuple[str, str], int] = {}
    for each in program.instructions:
        source = keys[program.function_of(each.index).start]
        callee = program.callee_function(each)
        if callee is not None:
            target = keys[callee.start]
        elif each.is_call:
            name = program.callee(each)
            if not name:
                continue
            target = f"kernel {name}"
            found.nodes.setdefault(target, Node(target, "kernel", name))
        else:
            continue
        counts[source, target] = counts.get((source, target), 0) + 1
    return [Edge(source, target, "calls", count) for (source, target), count in counts.items()]


_WORDS: dict[EdgeKind, str] = {
    "has": "",
    "calls": "calls ",
    "uses": "uses ",
    "tail calls": "tail-calls through ",
    "holds": "",
}


def text(found: CallGraph, root: str) -> Iterator[str]:
    """The graph as a tree for a terminal, from a program; what was shown is named only.

    Not by recursion: tail calls lead through hundreds of programs.
    """
    leaving = found.leaving()
    shown: set[str] = set()
    ahead = [(root, "", "", "")]
    while ahead:
        key, indent, words, times = ahead.pop()
        edges = leaving.get(key, [])
        again = key in shown and bool(edges)
        shown.add(key)
        above = "  (see above)" if again else ""
        yield f"{indent}{words}{title(found.nodes[key])}{times}{above}"
        if again:
            continue
        for edge in reversed(edges):
            words = f"[{_indices(edge.keys)}] " if edge.kind == "holds" else _WORDS[edge.kind]
            times = f"  ({edge.count} times)" if edge.count > 1 else ""
            ahead.append((edge.target, f"{indent}  ", words, times))


def title(node: Node) -> str:
    """A node in a line: kind, name, id."""
    if node.kind in ("program", "map"):
        of = f", {node.type}" if node.type else ""
        return f"{node.kind} {node.name or '?'} (id {node.id}{of})"
    return f"{node.name}()"


def _indices(keys: tuple[int, ...]) -> str:
    """ "0,2-5" """
    parts: list[list[int]] = []
    for key in keys:
        if parts and parts[-1][-1] == key - 1:
            parts[-1][1:] = [key]
        else:
            parts.append([key])
    return ",".join("-".join(map(str, part)) for part in parts)


_SHAPES = {"program": "box3d", "function": "box", "kernel": "plaintext", "map": "cylinder"}


def dot(found: CallGraph, name: str) -> Iterator[str]:
    """The graph for Graphviz."""
    yield f"digraph {quoted(name)} {{"
    yield '  rankdir=LR; node [fontname="monospace" fontsize=10];'
    for key, node in found.nodes.items():
        yield f"  {quoted(key)} [shape={_SHAPES[node.kind]} label={quoted(title(node))}];"
    for edge in found.edges:
        label = _indices(edge.keys) if edge.kind == "holds" else edge.kind
        label += f" x{edge.count}" if edge.count > 1 else ""
        shown = (
            ""
            if edge.kind in ("has", "calls") and edge.count == 1
            else f" [label={quoted(label)}]"
        )
        yield f"  {quoted(edge.source)} -> {quoted(edge.target)}{shown};"
    yield "}"


def record(found: CallGraph) -> dict[str, Any]:
    """The graph with stable field names, for programs."""
    return {
        "nodes": [
            {
                "key": node.key,
                "kind": node.kind,
                "name": node.name,
                "id": node.id or None,
                "type": node.type or None,
            }
            for node in found.nodes.values()
        ],
        "edges": [
            {
                "from": edge.source,
                "to": edge.target,
                "kind": edge.kind,
                "count": edge.count,
                "indices": list(edge.keys),
            }
            for edge in found.edges
        ],
    }
