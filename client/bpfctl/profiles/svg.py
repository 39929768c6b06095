# SPDX-License-Identifier: Apache-2.0
"""A flame graph as a still picture: names in the frames, the rest where the mouse stands.

For search and zoom there is the page (`bpfctl.profiles.html`).
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterator
from html import escape

from bpfctl.printable import printable
from bpfctl.profiles import amounts, pruned
from bpfctl.profiles.tree import FlameGraph, Node

WIDTH = 1200
"""Pixels."""
ROW = 17
MARGIN = 10
LETTER = 6.6
"""Width of a letter of 11 pixels' monospace."""
NARROWEST = 0.3
"""Pixels below which a frame is not drawn."""
MAX_NODES = 20_000

HUES = {"kernel": (32, 10), "user": (4, 16), "inlined": (176, 16), "jit": (98, 24)}
"""Hue in degrees and how far names spread it."""
LEGEND = (("kernel", "kernel"), ("user", "user"), ("inlined", "inlined"), ("jit", "JIT"))


def write(graph: FlameGraph) -> Iterator[str]:
    """The picture in parts."""
    root = graph.root
    scale = (WIDTH - 2 * MARGIN) / (root.value or 1)
    kept = pruned.prune(root, MAX_NODES, NARROWEST / scale)
    places = _laid_out(root, kept, scale)
    depth = max(level for level, _, _ in places)
    head = [graph.title or "Flame graph", " | ".join([*amounts.facts(graph), *graph.notes])]
    if kept.left_out:
        head.append(f"{kept.left_out:,} of {kept.nodes:,} frames are too narrow to be drawn")
    if said := amounts.missed(graph):
        head.append(said)
    above = MARGIN + 20 * len(head) + 26
    height = above + (depth + 1) * ROW + MARGIN
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fdfdfc"/>\n'
    )
    for at, line in enumerate(head):
        size = 15 if at == 0 else 12
        y = MARGIN + 14 + 20 * at
        yield f'<text x="{MARGIN}" y="{y}" font-size="{size}">{_text(line)}</text>\n'
    yield from _legend(graph, above - 16)
    yield '<g stroke="#fdfdfc" stroke-width="0.5">\n'
    largest = max(
        (abs(node.value - node.before) for level, _, node in places if level), default=1
    )
    names = []
    for level, left, node in places:
        y = above + (depth - level) * ROW
        width = node.value * scale
        fill = _changed(node, level, largest) if graph.differential else _color(node)
        yield (
            f'<rect x="{left:.2f}" y="{y}" width="{width:.2f}" height="{ROW}" fill="{fill}">'
            f"<title>{_hover(node, graph)}</title></rect>\n"
        )
        if letters := int((width - 6) / LETTER):
            names.append((left + 3, y + 12, _cut(node.function.name, letters)))
    yield '</g>\n<g pointer-events="none">\n'
    for x, y, name in names:
        if name:
            yield f'<text x="{x:.2f}" y="{y}">{_text(name)}</text>\n'
    yield "</g>\n</svg>\n"


def _laid_out(root: Node, kept: pruned.Pruned, scale: float) -> list[tuple[int, float, Node]]:
    """(depth, left edge, node)"""
    found = []
    lefts = [float(MARGIN)]
    for depth, node in pruned.walk(root, lambda node: kept.kept(node) and node.value > 0):
        left = lefts[depth]
        found.append((depth, left, node))
        del lefts[depth:]
        lefts += [left + node.value * scale, left]
    return found


def _text(text: str) -> str:
    return escape(printable(text))


def _cut(name: str, letters: int) -> str:
    if len(name) <= letters:
        return name
    return f"{name[: letters - 2]}.." if letters > 3 else ""


def _hover(node: Node, graph: FlameGraph) -> str:
    function, root = node.function, graph.root
    lines = [function.name, function.module, node.place]
    if graph.differential:
        lines.append(
            f"before {amounts.share(node.before, root.before)},"
            f" after {amounts.share(node.value, root.value)}"
        )
    else:
        for name, value in (("total", node.value), ("self", node.own)):
            said = amounts.amount(value, graph.unit)
            lines.append(f"{name} {amounts.share(value, root.value)}, {said}")
    return "\n".join(_text(line) for line in lines if line)


def _color(node: Node) -> str:
    name, _, kind = node.function
    spread = zlib.crc32(name.encode("utf-8")) % 1000 / 1000
    if kind == "process":
        return _hex(215, 14, 74 + 8 * spread)
    hue, width = HUES[kind]
    return _hex(hue + width * spread, 68 + 14 * spread, 74 - 12 * spread)


def _changed(node: Node, level: int, largest: int) -> str:
    change = node.value - node.before
    if not change or not level:
        return "#e8e8e8"
    strength = (abs(change) / (largest or 1)) ** 0.5
    return _hex(4 if change > 0 else 216, 85, 94 - 34 * strength)


def _hex(hue: float, saturation: float, lightness: float) -> str:
    """Of degrees and percents; hsl() is not known to every program that draws SVG."""
    parts = colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _legend(graph: FlameGraph, y: int) -> Iterator[str]:
    entries = [(name, _hex(HUES[kind][0] + 6, 75, 66)) for kind, name in LEGEND]
    if graph.differential:
        entries = [("more than before", _hex(4, 85, 66)), ("less", _hex(216, 85, 66))]
    x = MARGIN
    for name, fill in entries:
        yield (
            f'<rect x="{x}" y="{y}" width="10" height="10" fill="{fill}"/>'
            f'<text x="{x + 14}" y="{y + 9}">{name}</text>\n'
        )
        x += 34 + round(LETTER * len(name))
