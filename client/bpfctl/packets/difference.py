# SPDX-License-Identifier: Apache-2.0
"""What is different between two packets: field by field, and byte by byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from bpfctl.packets.hextext import text_of
from bpfctl.packets.layers import Layer, layers

_LINE = 16
_ALIGNED = 1 << 20
"""Product of the lengths of two pieces up to which they are aligned: that takes as long."""


@dataclass(frozen=True)
class FieldChange:
    """One field of a header, as text; None: there is no such header on that side."""

    layer: str
    field: str
    before: str | None
    after: str | None


def fields(before: bytes, after: bytes) -> list[FieldChange]:
    """Fields of the headers that are not the same in both frames."""
    old, new = layers(before), layers(after)
    changes: list[FieldChange] = []
    matcher = SequenceMatcher(None, _keys(old), _keys(new), autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind != "equal":
            changes.extend(_between(old[i1:i2], new[j1:j2]))
    return changes


def _keys(found: Sequence[Layer]) -> list[tuple[object, ...]]:
    return [(layer.name, *layer.fields.items()) for layer in found]


def _between(old: Sequence[Layer], new: Sequence[Layer]) -> Iterator[FieldChange]:
    """Headers of one name are the same header, changed; others were added or removed."""
    names = SequenceMatcher(
        None, [each.name for each in old], [each.name for each in new], autojunk=False
    )
    for kind, i1, i2, j1, j2 in names.get_opcodes():
        if kind == "equal":
            for one, two in zip(old[i1:i2], new[j1:j2], strict=True):
                yield from _changed(one, two)
            continue
        for layer in old[i1:i2]:
            for name, value in layer.fields.items():
                yield FieldChange(layer.name, name, value, None)
        for layer in new[j1:j2]:
            for name, value in layer.fields.items():
                yield FieldChange(layer.name, name, None, value)


def _changed(old: Layer, new: Layer) -> Iterator[FieldChange]:
    for name in dict.fromkeys((*old.fields, *new.fields)):
        before, after = old.fields.get(name), new.fields.get(name)
        if before != after:
            yield FieldChange(new.name, name, before, after)


@dataclass(frozen=True)
class DumpLine:
    """A line of a hex dump: `mark` is "-" (only before), "+" (only after)."""

    mark: str
    offset: int
    data: bytes
    changed: frozenset[int]
    """Which of its bytes are not in the other packet."""

    def __str__(self) -> str:
        return f"{self.mark} {self.offset:04x}  {self.data.hex(' '):<47}  {text_of(self.data)}"


def dump_lines(before: bytes, after: bytes) -> list[DumpLine]:
    """Lines of both dumps that hold a byte which is not in the other, in their order."""
    gone, come = _differing(before, after)
    lines = [*_lines("-", before, gone), *_lines("+", after, come)]
    return sorted(lines, key=lambda line: (line.offset, line.mark != "-"))


def _lines(mark: str, data: bytes, changed: set[int]) -> Iterator[DumpLine]:
    lines: dict[int, set[int]] = {}
    for place in changed:
        lines.setdefault(place // _LINE * _LINE, set()).add(place % _LINE)
    for at in sorted(lines):
        yield DumpLine(mark, at, data[at : at + _LINE], frozenset(lines[at]))


def _differing(before: bytes, after: bytes) -> tuple[set[int], set[int]]:
    """Places in each packet whose bytes are not in the other."""
    if len(before) == len(after):
        places = {at for at in range(len(before)) if before[at] != after[at]}
        return places, places
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if len(old) * len(new) > _ALIGNED:
        return set(range(head, head + len(old))), set(range(head, head + len(new)))
    gone: set[int] = set()
    come: set[int] = set()
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind != "equal":
            gone.update(range(head + i1, head + i2))
            come.update(range(head + j1, head + j2))
    return gone, come


def _common(one: bytes, other: bytes) -> int:
    """Bytes at the beginning that both have."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)
