# SPDX-License-Identifier: Apache-2.0
"""A flame graph as one page that needs nothing else: no network, no other file.

It is drawn by d3-flame-graph, which stands in it with d3 and both licences. Its content
security policy lets nothing be loaded and only these scripts run.
"""

from __future__ import annotations

import base64
import hashlib
import string
import tomllib
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

import orjson

from bpfctl.printable import printable
from bpfctl.profiles import amounts, pruned
from bpfctl.profiles.totals import Total, totals
from bpfctl.profiles.tree import FlameGraph, Node, without_collector

MAX_NODES = 30_000
"""What a browser lays out within a tenth of a second."""

KINDS = {"process": 0, "kernel": 1, "user": 2, "inlined": 3, "jit": 4}
LEGEND = (
    ("kernel", "hsl(37 75% 65%)"),
    ("user", "hsl(12 75% 65%)"),
    ("inlined", "hsl(184 75% 65%)"),
    ("JIT", "hsl(110 75% 65%)"),
    ("process", "hsl(215 14% 78%)"),
    ("matches the search", "#e15be8"),
)
LEGEND_DIFFERENTIAL = (
    ("more than before", "hsl(4 85% 68%)"),
    ("less than before", "hsl(216 85% 68%)"),
    ("the same", "#e8e8e8"),
    ("matches the search", "#e15be8"),
)
TOP = 30
"""Functions in the table below the picture."""


class PageIncomplete(Exception):
    """The libraries of the page are not installed."""

    def __str__(self) -> str:
        return (
            "flame graphs as .html need d3-flame-graph, which is not installed: run"
            " scripts/setup-page in the source tree (it needs npm), or write .svg, .folded or"
            " .pb.gz"
        )


@dataclass(frozen=True)
class Library:
    """A library as it stands in the page."""

    name: str
    version: str
    license: str
    script: str
    text: str
    """Of the licence."""


def libraries() -> list[Library]:
    """In the order in which they are loaded; PageIncomplete where they are missing or not
    those that were meant."""
    folder = resources.files("bpfctl.profiles.page")
    listed = tomllib.loads(folder.joinpath("libraries.toml").read_text("utf-8"))["library"]
    return [_library(folder.joinpath("lib"), each) for each in listed]


def _library(folder: Any, listed: dict[str, str]) -> Library:
    found = {}
    for kind, suffix in (("script", "js"), ("text", "LICENSE")):
        try:
            content = folder.joinpath(f"{listed['name']}.{suffix}").read_bytes()
        except OSError:
            raise PageIncomplete from None
        if hashlib.sha256(content).hexdigest() != listed[f"{kind}_sha256"]:
            raise PageIncomplete
        found[kind] = content.decode("utf-8")
    return Library(
        listed["name"], listed["version"], listed["license"], found["script"], found["text"]
    )


def write(graph: FlameGraph) -> str:
    """The page. Raises PageIncomplete."""
    used = libraries()
    folder = resources.files("bpfctl.profiles.page")
    scripts = [each.script for each in used]
    scripts.append(folder.joinpath("page.js").read_text("utf-8"))
    with without_collector():
        data, note = _data(graph)
        top = _top(graph)
    facts = [*amounts.facts(graph), *graph.notes, *([note] if note else [])]
    page = string.Template(folder.joinpath("page.html").read_text("utf-8"))
    return page.substitute(
        title=_text(graph.title or "Flame graph"),
        css=folder.joinpath("page.css").read_text("utf-8"),
        hashes=" ".join(map(_hash, scripts)),
        facts=" &middot; ".join(map(_text, facts)),
        missed=_text(amounts.missed(graph)),
        legend=_legend(graph.differential),
        top=top,
        licences="\n".join(map(_licence, used)),
        data=data,
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _hash(script: str) -> str:
    """As a content security policy names a script that may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _legend(differential: bool) -> str:
    entries = LEGEND_DIFFERENTIAL if differential else LEGEND
    return "".join(f'<span><i style="background:{c}"></i>{name}</span>' for name, c in entries)


def _licence(library: Library) -> str:
    head = f"{library.name} {library.version} ({library.license})"
    return f"<h3>{_text(head)}</h3>\n<pre>{escape(library.text)}</pre>"


def _top(graph: FlameGraph) -> str:
    """The heaviest functions; of two profiles those that changed most."""
    found = totals(graph.root)
    heads = ["self", "total"]
    if graph.differential:
        found.sort(key=lambda each: -abs(each.own - each.own_before))
        heads = ["self", "before", "change"]
    rows = "\n".join(
        "<tr>"
        + "".join(f'<td class="number">{number}</td>' for number in _numbers(each, graph))
        + f"<td>{_text(each.function.name)}</td><td>{_text(each.function.module)}</td>"
        + f"<td>{_text(each.place)}</td></tr>"
        for each in found[:TOP]
    )
    head = "".join(f'<th class="number">{name}</th>' for name in heads)
    head += "<th>function</th><th>module</th><th>file</th>"
    return f"<table><tr>{head}</tr>\n{rows}</table>"


def _numbers(each: Total, graph: FlameGraph) -> list[str]:
    whole = graph.root.value
    own = amounts.share(each.own, whole)
    if not graph.differential:
        return [own, amounts.share(each.value, whole)]
    change = 100 * (each.own - each.own_before) / (whole or 1)
    return [own, amounts.share(each.own_before, graph.root.before), f"{change:+.2f}"]


def _data(graph: FlameGraph) -> tuple[str, str]:
    """(what page.js reads, what is to be said of nodes that were left out)"""
    kept = pruned.prune(graph.root, MAX_NODES)
    strings: dict[str, int] = {"": 0}
    functions: dict[Any, int] = {}
    listed = []
    rows = []

    def string_of(text: str) -> int:
        return strings.setdefault(printable(text), len(strings))

    for depth, node in pruned.walk(graph.root, kept.kept):
        number = functions.get(node.function)
        if number is None:
            number = functions[node.function] = len(functions)
            name, module, kind = node.function
            listed.append([name, string_of(module), KINDS[kind]])
        file, line = _place(node)
        row = [depth, number, node.value, node.own, string_of(file), line]
        rows.append([*row, node.before] if graph.differential else row)
    data = {
        "unit": graph.unit,
        "differential": graph.differential,
        "strings": list(strings),
        "functions": listed,
        "nodes": rows,
    }
    note = ""
    if kept.left_out:
        note = (
            f"{kept.left_out:,} of {kept.nodes:,} frames, each below"
            f" {_least(kept.least, graph.root)}, are not drawn but count in their callers"
        )
    # In a page "<" could end the element or begin a comment.
    return orjson.dumps(data).decode("utf-8").replace("<", "\\u003c"), note


def _least(least: int, root: Node) -> str:
    return f"{100 * least / (max(root.value, root.before) or 1):.2g} %"


def _place(node: Node) -> tuple[str, int]:
    frame = node.frame
    return (frame.file, frame.line) if frame is not None and frame.file else ("", 0)
