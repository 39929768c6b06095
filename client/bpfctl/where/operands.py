# SPDX-License-Identifier: Apache-2.0
"""What stands at the sides of a comparison: fields of records, and numbers made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfctl.btf import columns
from bpfctl.btf.bytesroles import Ipv4, Ipv6, Mac, Real, Text
from bpfctl.btf.composites import ArrayNode, StructNode
from bpfctl.btf.nodes import BitsLeaf, BytesLeaf, IntegerLeaf, Leaf, Node
from bpfctl.btf.roles import Enumeration
from bpfctl.where.lexer import Constant, refused

if TYPE_CHECKING:
    from bpfctl.btf.columns import Array

_NANOSECONDS = {
    ("us", "usec", "usecs", "micros"): 10**3,
    ("ms", "msec", "msecs", "millis"): 10**6,
    ("s", "sec", "secs", "seconds"): 10**9,
}
_MAX_NAMES = 40


@dataclass(frozen=True)
class Field:
    """A part of every record."""

    path: str
    node: Node
    offset: int

    @property
    def is_number(self) -> bool:
        return isinstance(self.node, IntegerLeaf | BitsLeaf) or self.role_is(Real)

    @property
    def is_text(self) -> bool:
        return self.role_is(Text)

    @property
    def address_bytes(self) -> int:
        """4, 6 or 16 for what can be an address in network order, else 0."""
        node = self.node
        if self.role_is(Ipv4, Ipv6, Mac):
            return node.size
        octets = isinstance(node, ArrayNode) and node.element.size == 1
        number = isinstance(node, IntegerLeaf) and not isinstance(node.role, Enumeration)
        raw = isinstance(node, BytesLeaf) and not self.role_is(Text, Real)
        fits = node.size == 4 if number else node.size in (4, 6, 16) and (octets or raw)
        return node.size if fits else 0

    def role_is(self, *roles: type[Any]) -> bool:
        return isinstance(self.node, Leaf) and isinstance(self.node.role, roles)

    def describe(self) -> str:
        """`dport (__u16)`"""
        return f"{self.path} ({self.node.name})" if self.node.name else self.path

    def numbers(self, array: Array) -> Array:
        """The field's numbers, bit fields extracted."""
        import numpy as np

        assert isinstance(self.node, Leaf)
        found = columns.load(self.node, array, self.offset)
        if found.dtype.kind != "V":
            return found
        order, signed = self.node.role.order, getattr(self.node.role, "signed", False)  # type: ignore[union-attr]
        wide = [int.from_bytes(raw, order, signed=signed) for raw in found.tolist()]
        return np.array(wide, object)

    def octets(self, array: Array) -> Array:
        """The field's bytes, (records, size)."""
        import numpy as np

        return array.getfield(np.dtype(("u1", (self.node.size,))), self.offset)

    def texts(self, array: Array) -> Array:
        """The field's text up to the first NUL, as `S`."""
        import numpy as np

        octets = self.octets(array).copy()
        octets[np.logical_or.accumulate(octets == 0, axis=1)] = 0
        return octets.view(f"S{self.node.size}")[:, 0]

    def nanoseconds(self) -> int:
        """What 1 in this field stands for, where it is a time, by its name."""
        last = self.path.rsplit(".", maxsplit=1)[-1].lower().rsplit("_", maxsplit=1)[-1]
        return next((unit for names, unit in _NANOSECONDS.items() if last in names), 1)


@dataclass(frozen=True)
class Computed:
    """A number that is worked out of others."""

    get: Callable[[Array], Any]
    text: str
    nanoseconds: int = 1


Operand = Field | Constant | Computed


def numbers(operand: Operand, beside: Operand | None = None) -> Callable[[Array], Any]:
    """How to get the numbers of an operand; names and times are read as `beside` wants.

    Raises InvalidArgument for what is no number.
    """
    if isinstance(operand, Computed):
        return operand.get
    if isinstance(operand, Field):
        if not operand.is_number:
            raise refused(f"{operand.describe()} is no number{parts(operand)}")
        return operand.numbers
    value = number(operand, beside)
    return lambda _: value


def number(constant: Constant, beside: Operand | None) -> int | float:
    """A constant as a number of what it is compared with. Raises InvalidArgument."""
    if constant.kind == "number":
        assert isinstance(constant.value, int | float)
        return constant.value
    if constant.kind == "time":
        assert isinstance(constant.value, int)
        unit = beside.nanoseconds() if isinstance(beside, Field) else 1
        unit = beside.nanoseconds if isinstance(beside, Computed) else unit
        whole, rest = divmod(constant.value, unit)
        return constant.value / unit if rest else whole
    if isinstance(beside, Field) and isinstance(beside.node, IntegerLeaf | BitsLeaf):
        role = beside.node.role
        if constant.kind in ("name", "text") and isinstance(role, Enumeration):
            from bpfctl.btf.errors import BtfValueError

            try:
                return role.read(constant.value, beside.path)
            except BtfValueError as error:
                raise refused(str(error)) from None
    if constant.kind == "name":
        raise UnknownName(constant.text)
    side = beside.describe() if isinstance(beside, Field) else "the other side"
    raise refused(f"{constant.text} is no number, and {side} is one")


class UnknownName(Exception):
    """A name that is neither a field nor a value of the enum at hand."""


def parts(field: Field) -> str:
    """What a composite is made of, to be named in its place."""
    if isinstance(field.node, StructNode):
        names = [f"{field.path}.{each.name}" for each in field.node.fields]
        return f"; compare one of {', '.join(names[:_MAX_NAMES])}"
    if isinstance(field.node, ArrayNode):
        return f"; compare one of {field.path}[0] to {field.path}[{field.node.count - 1}]"
    return ""
