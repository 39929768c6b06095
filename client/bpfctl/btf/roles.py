# SPDX-License-Identifier: Apache-2.0
"""How a number is shown and typed in: what an integer means beyond its bits.

A role turns the integer that the memory holds into a value for people and JSON (`show`),
a value or a typed word into the integer (`read`), and a value into a word (`format`).
"""

from __future__ import annotations

import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.parse import ByteOrder

Value = Any
"""What a decoded value is: dict, list, int, float, bool, str or None."""

Combine = Literal["sum", "max", "any", "first"]
"""How the values of the CPUs make one: `first` takes the first that is not zero."""

_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_DURATION = re.compile(r"([+-]?[\d.]+)\s*(ns|us|µs|ms|s|m)")


class IntegerRole(ABC):
    """What an integer of `bits` bits means; `name` is its C type."""

    combine: Combine = "first"

    def __init__(self, name: str, bits: int, signed: bool) -> None:
        self.name = name
        self.bits = bits
        self.signed = signed
        self.low = -(1 << (bits - 1)) if signed else 0
        self.high = (1 << (bits - 1 if signed else bits)) - 1

    @property
    def accepts(self) -> str:
        """What may be typed in, for messages."""
        return f"a number from {self.low} to {self.high}"

    @abstractmethod
    def show(self, raw: int) -> Value:
        """The value of what the memory holds."""

    @abstractmethod
    def read(self, value: object, field: str) -> int:
        """What the memory is to hold; BtfValueError where the value is not of the type."""

    def format(self, value: Value) -> str:
        """A value of `show` as a word that `read` takes."""
        return str(value)

    def refuse(self, value: object, field: str) -> BtfValueError:
        return BtfValueError(
            field, f"{value!r} is not a value of {self.name}: {self.accepts} is due"
        )

    def number(self, value: object, field: str) -> int:
        """A number in range from a number or its text."""
        if isinstance(value, str):
            try:
                number = int(value, 0)
            except ValueError:
                raise self.refuse(value, field) from None
        elif isinstance(value, int):
            number = int(value)
        else:
            raise self.refuse(value, field)
        if not self.low <= number <= self.high:
            raise BtfValueError(
                field,
                f"{value} does not fit into {self.name}, which takes {self.low} to {self.high}",
            )
        return number


class Number(IntegerRole):
    """A plain number; typed in decimal or with 0x, 0o, 0b.

    Four bytes without a sign also take an IPv4 address, put down in network order, and one
    byte takes a character in single quotes.
    """

    combine: Combine = "sum"

    def __init__(self, name: str, bits: int, signed: bool, order: ByteOrder) -> None:
        super().__init__(name, bits, signed)
        self.order: ByteOrder = order

    def show(self, raw: int) -> Value:
        return raw

    def read(self, value: object, field: str) -> int:
        if isinstance(value, str):
            if self.bits == 32 and not self.signed and value.count(".") == 3:
                try:
                    packed = socket.inet_pton(socket.AF_INET, value)
                except OSError:
                    raise BtfValueError(field, f"{value!r} is not an IPv4 address") from None
                return int.from_bytes(packed, self.order)
            if self.bits == 8 and len(value) == 3 and value[0] == value[2] == "'":
                return self.number(ord(value[1]), field)
        return self.number(value, field)


class NetworkNumber(Number):
    """A number in network order: a port, a type on the wire; not a counter to be summed."""

    combine: Combine = "first"

    def __init__(self, name: str, bits: int, signed: bool) -> None:
        super().__init__(name, bits, signed, "big")


class Boolean(IntegerRole):
    """True or false; another number than 0 and 1 is shown as it is."""

    combine: Combine = "any"
    _words = {  # noqa: RUF012
        **dict.fromkeys(("true", "yes", "on"), 1),
        **dict.fromkeys(("false", "no", "off"), 0),
    }

    @property
    def accepts(self) -> str:
        return "true or false"

    def show(self, raw: int) -> Value:
        return bool(raw) if raw in (0, 1) else raw

    def read(self, value: object, field: str) -> int:
        if isinstance(value, str) and value.lower() in self._words:
            return self._words[value.lower()]
        return self.number(value, field)

    def format(self, value: Value) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)


class Hexadecimal(IntegerRole):
    """A pointer or a number that is tagged so: text with 0x."""

    def show(self, raw: int) -> Value:
        return hex(raw)

    def read(self, value: object, field: str) -> int:
        return self.number(value, field)


class KernelAddress(Hexadecimal):
    """An address in the kernel; `bpfctl.naming` knows the function there."""


class Octal(IntegerRole):
    """Permissions of a file: text with 0o."""

    def show(self, raw: int) -> Value:
        return oct(raw)

    def read(self, value: object, field: str) -> int:
        return self.number(value, field)


class Duration(IntegerRole):
    """Nanoseconds: a number in JSON, `1.5ms` on the screen; the text is exact.

    A `clock` is a time of bpf_ktime_get_ns(): always seconds, and not summed over CPUs.
    """

    def __init__(self, name: str, bits: int, signed: bool, clock: bool) -> None:
        super().__init__(name, bits, signed)
        self.clock = clock
        self.combine = "max" if clock else "sum"

    @property
    def accepts(self) -> str:
        return (
            f"nanoseconds from {self.low} to {self.high}, or a number with ns, us, ms, s or m"
        )

    def show(self, raw: int) -> Value:
        return raw

    def read(self, value: object, field: str) -> int:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return self.number(value, field)
        from decimal import Decimal, InvalidOperation

        try:
            nanoseconds = Decimal(match[1]) * _NANOSECONDS[match[2]]
        except InvalidOperation:
            raise self.refuse(value, field) from None
        if nanoseconds != int(nanoseconds):
            raise BtfValueError(field, f"{value} is not a whole number of nanoseconds")
        return self.number(int(nanoseconds), field)

    def format(self, value: Value) -> str:
        number = int(value)
        unit = "s" if self.clock else "ns"
        if not self.clock:
            for unit in ("s", "ms", "us", "ns"):
                if abs(number) >= _NANOSECONDS[unit]:
                    break
        whole, rest = divmod(abs(number), _NANOSECONDS[unit])
        digits = len(str(_NANOSECONDS[unit])) - 1
        fraction = f".{rest:0{digits}d}".rstrip("0").rstrip(".") if digits else ""
        return f"{'-' if number < 0 else ''}{whole}{fraction}{unit}"


class Enumeration(IntegerRole):
    """A name of the enum, `A|B` for the bits of one that is made of flags, else the number.

    An enum is one of flags when at least three of its values are single bits and no other
    value but zero is not; with `plain` none is.
    """

    def __init__(
        self,
        name: str,
        bits: int,
        signed: bool,
        values: Sequence[tuple[str, int]],
        plain: bool = False,
    ) -> None:
        super().__init__(name, bits, signed)
        self._mask = (1 << bits) - 1
        self._names: dict[int, str] = {}
        self._values: dict[str, int] = {}
        for text, value in values:
            self._names.setdefault(value & self._mask, text)
            self._values[text] = value
        bits_used = [value for value in self._names if value]
        single = all(value & (value - 1) == 0 for value in bits_used)
        self._flags = single and len(bits_used) >= 3 and not plain

    @property
    def accepts(self) -> str:
        names = list(self._values)
        listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        return f"{'one or more of' if self._flags else 'one of'} {listed} or a number"

    def show(self, raw: int) -> Value:
        found = self._names.get(raw & self._mask)
        if found is not None or not self._flags or raw <= 0:
            return raw if found is None else found
        names = [name for value, name in sorted(self._names.items()) if value & raw]
        rest = raw & ~sum(value for value in self._names if value & raw)
        return "|".join([*names, hex(rest)] if rest else names) if names else raw

    def names(self, most: int) -> dict[int, str]:
        """At most so many names by the numbers that the memory holds, those of flags put
        together among them."""
        found = {self._signed(value): name for value, name in self._names.items()}
        every = sum(value for value in self._names) if self._flags else 0
        if 0 < every < most:
            for raw in range(1, every + 1):
                text = self.show(raw)
                if isinstance(text, str):
                    found.setdefault(raw, text)
        return dict(sorted(found.items())[:most])

    def read(self, value: object, field: str) -> int:
        if not isinstance(value, str):
            return self.number(value, field)
        if "|" in value:
            total = 0
            for part in value.split("|"):
                total |= self._one(part.strip(), field)
            return total
        return self._one(value, field)

    def _one(self, word: str, field: str) -> int:
        if word in self._values:
            return self.number(self._signed(self._values[word]), field)
        if re.match(r"[+-]?\d", word):
            return self.number(word, field)
        alike = [name for name in self._values if name.lower() == word.lower()]
        if len(alike) == 1:
            return self.number(self._signed(self._values[alike[0]]), field)
        import difflib

        near = difflib.get_close_matches(word.upper(), self._values, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise BtfValueError(
            field, f"{word!r} is not a value of {self.name}: {self.accepts} is due{hint}"
        )

    def _signed(self, value: int) -> int:
        """A value of the source as a number of the range of this field."""
        raw = value & self._mask
        return raw - (1 << self.bits) if self.signed and raw >> (self.bits - 1) else raw
