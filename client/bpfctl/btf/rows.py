# SPDX-License-Identifier: Apache-2.0
"""Arrays of C layout -> lists of Python values, without a step in Python for each field.

The shape of a row is fixed by its type, so a row is written once as a Python expression,
`{'saddr': v0, 'ports': [v1, v2]}`, over columns that were made as a whole. Only field names,
as literals, and numbered variables are put into it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from bpfctl.btf.columns import column_of, leaf_values, numbers
from bpfctl.btf.composites import ArrayNode, StructNode
from bpfctl.btf.nodes import Leaf, Node
from bpfctl.btf.roles import Value

if TYPE_CHECKING:
    from bpfctl.btf.columns import Array

_MAX_UNROLLED = 32
"""Elements of an array that become variables of the expression; longer ones are lists."""


class Row:
    """A row as an expression over columns, in the making."""

    def __init__(self) -> None:
        self.columns: list[Sequence[Value]] = []

    def variable(self, column: Sequence[Value]) -> str:
        """The name of a new column's value in the row."""
        self.columns.append(column)
        return f"v{len(self.columns) - 1}"

    def expression(self, node: Node, array: Array, offset: int = 0) -> str:
        """The value of a node in the row; `array` as in columns.py."""
        if isinstance(node, StructNode):
            parts = (
                f"{field.name!r}: {self.expression(field.node, array, offset + field.offset)}"
                for field in node.fields
            )
            return "{" + ", ".join(parts) + "}"
        if isinstance(node, ArrayNode):
            found = numbers(node, array, offset)
            if found is not None:
                return self.variable(found.tolist())
            if node.count > _MAX_UNROLLED:
                return self.variable(self._lists(node, array, offset))
            size = node.element.size
            elements = (
                self.expression(node.element, array, offset + index * size)
                for index in range(node.count)
            )
            return "[" + ", ".join(elements) + "]"
        if isinstance(node, Leaf) and node.size:
            return self.variable(leaf_values(node, column_of(node, array, offset)))
        return repr(node.decode(b"", 0))

    @staticmethod
    def _lists(node: ArrayNode, array: Array, offset: int) -> list[Value]:
        size = node.element.size
        columns = []
        for index in range(node.count):
            row = Row()
            text = row.expression(node.element, array, offset + index * size)
            columns.append(row.make(text, len(array)))
        return list(map(list, zip(*columns, strict=True)))

    def make(self, expression: str, count: int) -> list[Value]:
        """The rows."""
        if not self.columns:
            self.variable([None] * count)
        with _collector_paused():
            return _maker(expression, len(self.columns))(self.columns)


@lru_cache(maxsize=256)
def _maker(expression: str, count: int) -> Callable[[list[Sequence[Value]]], list[Value]]:
    variables = "".join(f"v{index}, " for index in range(count))
    source = f"lambda columns: [{expression} for {variables}in zip(*columns)]"
    maker: Callable[[list[Sequence[Value]]], list[Value]] = eval(source, {"zip": zip})
    return maker


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Rows hold no cycles, and looking for some takes four times as long as making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
