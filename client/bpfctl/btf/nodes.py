# SPDX-License-Identifier: Apache-2.0
"""The tree that a type becomes: where each value lies in memory and what it means.

A node knows its size and reads and writes a value at an offset. Leaves leave the meaning
to a role (roles.py, bytesroles.py); composites are in composites.py. Trees are made by
display.py and shared: they hold no data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from bpfctl.btf.bytesroles import BytesRole, raw_bytes
from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.parse import ByteOrder
from bpfctl.btf.roles import Combine, IntegerRole, Value
from bpfctl.btf.text import Quoted, unquote


class Node(ABC):
    """A value of `size` bytes; `name` is its C type."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size

    @property
    @abstractmethod
    def accepts(self) -> str:
        """What may be typed in, for messages."""

    @abstractmethod
    def decode(self, data: bytes, at: int) -> Value:
        """The value at an offset of data that is long enough."""

    @abstractmethod
    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        """Puts a value of `decode`, bytes, or what a person typed, at an offset."""

    @abstractmethod
    def format(self, value: Value) -> str:
        """A value of `decode` as one line that `write` takes."""

    def item(self, value: Value) -> str:
        """`format` for a place inside a struct or an array."""
        return self.format(value)

    @abstractmethod
    def combine(self, values: Sequence[Value]) -> Value:
        """One value of those of all CPUs, as the roles say."""

    def leaves(self, path: str = "", at: int = 0) -> Iterator[tuple[str, int, Node]]:
        """(path, offset, leaf) of every value that is not a struct."""
        yield path, at, self


class Leaf(Node):
    """A node without parts."""

    role: IntegerRole | BytesRole

    @property
    def accepts(self) -> str:
        return self.role.accepts

    def format(self, value: Value) -> str:
        return self.role.format(value)

    @property
    def kind_of_sum(self) -> Combine:
        return self.role.combine

    def combine(self, values: Sequence[Value]) -> Value:
        if self.role.combine in ("sum", "max") and all(
            isinstance(value, int | float) for value in values
        ):
            return sum(values) if self.role.combine == "sum" else max(values)
        zero = self.decode(bytes(self.size), 0)
        return next((value for value in values if value != zero), values[0])


def word(value: object, field: str) -> object:
    """Typed text without blanks around it and without quotes, anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Quoted):
        stripped = value.strip()
        if stripped.startswith('"'):
            return Quoted(unquote(stripped, field))
        return stripped
    return value


class IntegerLeaf(Leaf):
    """An integer of whole bytes."""

    def __init__(self, name: str, size: int, order: ByteOrder, role: IntegerRole) -> None:
        super().__init__(name, size)
        self.order: ByteOrder = order
        self.role: IntegerRole = role

    def decode(self, data: bytes, at: int) -> Value:
        raw = int.from_bytes(data[at : at + self.size], self.order, signed=self.role.signed)
        return self.role.show(raw)

    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        data = raw_bytes(value, self.size, field)
        if data is None:
            raw = self.role.read(word(value, field), field)
            data = raw.to_bytes(self.size, self.order, signed=self.role.signed)
        out[at : at + self.size] = data


class BitsLeaf(Leaf):
    """A bit field: `bits` bits from bit `shift` of the first byte that holds some of it.

    Little endian counts from the least significant bit, big endian from the most
    significant one. `size` is that of the bytes which hold it, which other fields share.
    """

    def __init__(
        self, name: str, shift: int, bits: int, order: ByteOrder, role: IntegerRole
    ) -> None:
        super().__init__(name, (shift + bits + 7) // 8)
        self.bits = bits
        self.order: ByteOrder = order
        self.role: IntegerRole = role
        self.shift = shift if order == "little" else 8 * self.size - shift - bits

    def decode(self, data: bytes, at: int) -> Value:
        whole = int.from_bytes(data[at : at + self.size], self.order)
        raw = whole >> self.shift & ((1 << self.bits) - 1)
        if self.role.signed and raw >> (self.bits - 1):
            raw -= 1 << self.bits
        return self.role.show(raw)

    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        mask = (1 << self.bits) - 1
        raw = self.role.read(word(value, field), field) & mask
        whole = int.from_bytes(out[at : at + self.size], self.order)
        whole = whole & ~(mask << self.shift) | raw << self.shift
        out[at : at + self.size] = whole.to_bytes(self.size, self.order)


class BytesLeaf(Leaf):
    """Bytes whose role takes them as they stand in memory."""

    def __init__(self, role: BytesRole) -> None:
        super().__init__(role.name, role.size)
        self.role: BytesRole = role

    def decode(self, data: bytes, at: int) -> Value:
        return self.role.show(data[at : at + self.size])

    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        data = raw_bytes(value, self.size, field)
        if data is None:
            data = self.role.read(word(value, field), field)
        out[at : at + len(data)] = data


class NothingLeaf(Node):
    """void, a forward declaration, a function: no bytes and no value."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 0)

    @property
    def accepts(self) -> str:
        return "nothing"

    def decode(self, data: bytes, at: int) -> Value:
        return None

    def write(self, value: object, out: bytearray, at: int, field: str) -> None:
        if value not in (None, "", "-", b"", "hex:"):
            raise BtfValueError(field, f"{value!r} was given, but {self.name} has no value")

    def format(self, value: Value) -> str:
        return "-"

    def combine(self, values: Sequence[Value]) -> Value:
        return None
