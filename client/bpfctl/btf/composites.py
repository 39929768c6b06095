# SPDX-License-Identifier: Apache-2.0
"""Structs, unions and arrays as trees of values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bpfctl.btf.bytesroles import Prefix, RawBytes, Text, raw_bytes
from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.nodes import BytesLeaf, IntegerLeaf, Node
from bpfctl.btf.roles import Number, Value
from bpfctl.btf.text import Path, Quoted, assignments, inside, items, split_path

_BYTE = IntegerLeaf("__u8", 1, "little", Number("__u8", 8, False, "little"))


@dataclass(frozen=True, slots=True)
class Field:
    """A member by name; `offset` in bytes from the start of the struct."""

    name: str
    node: Node
    offset: int


class StructNode(Node):
    """A struct, a union or a data section: a dict of its fields.

    Fields of anonymous members are among those of the struct, as in C. A union shows all
    of its members; written are those that are given, one after the other.
    """

    def __init__(self, name: str, size: int, fields: Sequence[Field]) -> None:
        super().__init__(name, size)
        self.fields = tuple(fields)
        self._by_name = {field.name: field for field in fields}

    @property
    def accepts(self) -> str:
        if len(self.fields) == 1:
            return self.fields[0].node.accepts
        names = [field.name for field in self.fields]
        listed = " ".join(f"{name}=..." for name in names[:12])
        return "nothing" if not names else listed + (" ..." if len(names) > 12 else "")

    def decode(self, data: bytes, at: int) -> Value:
        return {field.name: field.node.decode(data, at + field.offset) for field in self.fields}

    def format(self, value: Value) -> str:
        return " ".join(
            f"{field.name}={field.node.item(value[field.name])}"
            for field in self.fields
            if field.name in value
        )

    def item(self, value: Value) -> str:
        return "{" + self.format(value) + "}"

    def combine(self, values: Sequence[Value]) -> Value:
        return {
            field.name: field.node.combine([value[field.name] for value in values])
            for field in self.fields
        }

    def leaves(self, path: str = "", at: int = 0) -> Iterator[tuple[str, int, Node]]:
        for field in self.fields:
            name = f"{path}.{field.name}" if path else field.name
            yield from field.node.leaves(name, at + field.offset)

    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        data = raw_bytes(value, self.size, field)
        if data is not None:
            out[at : at + self.size] = data
        elif isinstance(value, Mapping):
            pairs = [(self._path(str(key)), Literal(value[key])) for key in value]
            self._assign(pairs, out, at, field)
        elif isinstance(value, str):
            self._write_text(value.strip(), out, at, field)
        else:
            raise BtfValueError(
                field, f"{value!r} is not a value of {self.name}: {self.accepts} is due"
            )

    def _write_text(self, text: str, out: bytearray, at: int, field: str) -> None:
        if text.startswith('{"') and (parsed := _json(text)) is not None:
            self.write(parsed, out, at, field)
            return
        inner = inside(text, "{", field)
        content = text if inner is None else inner
        if inner is None and len(self.fields) == 1 and "=" not in content and content:
            only = self.fields[0]
            only.node.write(content, out, at + only.offset, _join(field, only.name))
            return
        self._assign(list(assignments(content, field)), out, at, field)

    def _assign(
        self, pairs: Sequence[tuple[Path, object]], out: bytearray, at: int, field: str
    ) -> None:
        seen: set[Path] = set()
        for path, value in pairs:
            node, offset, name = self._find(path, field)
            if path in seen:
                raise BtfValueError(name, "is given twice")
            seen.add(path)
            _write(node, value, out, at + offset, name)

    def _find(self, path: Path, field: str) -> tuple[Node, int, str]:
        node: Node = self
        offset = 0
        steps = list(path)
        while steps:
            if isinstance(node, StructNode):
                child = node.child(node._first_name(steps), field)
                field = _join(field, child.name)
                offset, node = offset + child.offset, child.node
                continue
            step = steps.pop(0)
            if isinstance(node, ArrayNode):
                field = f"{field}[{step}]"
                offset, node = offset + node.place(step, field), node.element
            elif isinstance(node, BytesLeaf) and isinstance(node.role, RawBytes):
                if not isinstance(step, int) or step >= node.size:
                    raise BtfValueError(field, f"{node.name} has bytes 0 to {node.size - 1}")
                field, offset, node = f"{field}[{step}]", offset + step, _BYTE
            else:
                raise BtfValueError(field, f"{node.name} has no part {step!r}")
        return node, offset, field

    def _path(self, key: str) -> Path:
        return (key,) if key in self._by_name else split_path(key)

    def _first_name(self, steps: list[str | int]) -> str | int:
        """Take the first field off: static variables of functions have dots in their names
        ("count.seen")."""
        for end in range(len(steps), 0, -1):
            name = ".".join(map(str, steps[:end]))
            if name in self._by_name:
                del steps[:end]
                return name
        return steps.pop(0)

    def child(self, name: str | int, field: str = "") -> Field:
        """The field of a name; BtfValueError with the names there are."""
        found = self._by_name.get(str(name))
        if found is None:
            import difflib

            near = difflib.get_close_matches(str(name), self._by_name, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            names = ", ".join(self._by_name) or "none"
            raise BtfValueError(
                _join(field, str(name)),
                f"{self.name} has no such field; it has {names}{hint}",
            )
        return found


class PrefixLeaf(BytesLeaf):
    """A key of an LPM trie: `10.0.0.0/8`; its fields one by one are taken, too."""

    def __init__(self, role: Prefix, fields: Node | None) -> None:
        super().__init__(role)
        self.fields = fields

    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        if self.fields and (
            isinstance(value, Mapping) or (isinstance(value, str) and "=" in value)
        ):
            self.fields.write(value, out, at, field)
        else:
            super().write(value, out, at, field)


class ArrayNode(Node):
    """`count` elements: a list. A list that is too short leaves the rest zero."""

    def __init__(self, name: str, element: Node, count: int) -> None:
        super().__init__(name, element.size * count)
        self.element = element
        self.count = count

    @property
    def accepts(self) -> str:
        return f"a list of at most {self.count}, such as [1,2,3]"

    def decode(self, data: bytes, at: int) -> Value:
        decode, size = self.element.decode, self.element.size
        return [decode(data, at + index * size) for index in range(self.count)]

    def format(self, value: Value) -> str:
        return "[" + ",".join(self.element.item(element) for element in value) + "]"

    def combine(self, values: Sequence[Value]) -> Value:
        return [self.element.combine(column) for column in zip(*values, strict=True)]

    def place(self, step: str | int, field: str) -> int:
        """Offset of an element; BtfValueError for one that is not there."""
        if not isinstance(step, int) or step >= self.count:
            raise BtfValueError(field, f"{self.name} has elements 0 to {self.count - 1}")
        return step * self.element.size

    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        data = raw_bytes(value, self.size, field)
        if data is not None:
            out[at : at + self.size] = data
            return
        typed = isinstance(value, str)
        if isinstance(value, str):
            value, typed = self._split(value.strip(), field)
        if not isinstance(value, list | tuple):
            raise BtfValueError(
                field, f"{value!r} is not a value of {self.name}: {self.accepts} is due"
            )
        if len(value) > self.count:
            raise BtfValueError(
                field, f"{len(value)} elements were given, {self.name} takes {self.count}"
            )
        for index, element in enumerate(value):
            _write(
                self.element,
                element if typed else Literal(element),
                out,
                at + index * self.element.size,
                f"{field}[{index}]",
            )

    def _split(self, text: str, field: str) -> tuple[object, bool]:
        """The elements, and whether they are typed words rather than JSON."""
        separators = text.count(".") + text.count(":")
        if self.element.size == 1 and self.size in (4, 16) and separators > 1:
            return list(RawBytes(self.name, self.size).read(text, field)), False
        inner = inside(text, "[", field)
        if inner is None and "," not in text and self.count != 1:
            return text, True
        return list(items(text if inner is None else inner, field)), True


@dataclass(frozen=True, slots=True)
class Literal:
    """A value from Python or JSON: its text is text, whatever it looks like."""

    value: object


def _write(node: Node, value: object, out: bytearray, at: int, field: str) -> None:
    """Node.write() of a typed word or of a Literal."""
    if isinstance(value, Literal):
        value = value.value
        if (
            isinstance(value, str)
            and isinstance(node, BytesLeaf)
            and isinstance(node.role, Text)
        ):
            value = Quoted(value)
    node.write(value, out, at, field)


def _json(text: str) -> object:
    try:
        parsed: object = json.loads(text)
    except ValueError:
        return None
    return parsed


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
