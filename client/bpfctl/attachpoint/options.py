# SPDX-License-Identifier: Apache-2.0
"""What follows an attach point's subject: words and KEY=VALUE, each one a field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from .references import Reference
from .text import InvalidAttachPoint, escape, near, number, split, unescape

MAX_RANGE = 1 << 16


class Option:
    """One or several fields of a message."""

    keys: tuple[str, ...] = ()
    """Written KEY=VALUE."""
    words: tuple[str, ...] = ()
    """Written alone."""

    def read(self, message: Any, key: str, value: str) -> None:
        """Set the field; `value` has its escapes, and is empty for a word."""
        raise NotImplementedError

    def write(self, message: Any) -> Iterator[str]:
        """The tokens for what is set."""
        raise NotImplementedError


def _parent(message: Any, path: str) -> tuple[Any, str]:
    *steps, last = path.split(".")
    return reduce(getattr, steps, message), last


def bits_of(message: Any, name: str) -> tuple[int, bool]:
    """Width of an integer field, and whether it is signed."""
    kind = message.DESCRIPTOR.fields_by_name[name]
    wide = kind.cpp_type in (kind.CPPTYPE_INT64, kind.CPPTYPE_UINT64)
    return 64 if wide else 32, kind.cpp_type in (kind.CPPTYPE_INT64, kind.CPPTYPE_INT32)


def _is_set(message: Any, name: str) -> bool:
    """Whether a member of a oneof is chosen, or another field is not its default."""
    described = message.DESCRIPTOR.fields_by_name[name]
    if described.containing_oneof is not None:
        return bool(message.HasField(name))
    return bool(getattr(message, name))


class Number(Option):
    """KEY=NUMBER; left out when 0."""

    def __init__(self, key: str, path: str = "") -> None:
        self.keys = (key,)
        self.path = path or key

    def read(self, message: Any, key: str, value: str) -> None:
        owner, name = _parent(message, self.path)
        setattr(owner, name, number(unescape(value), key, *bits_of(owner, name)))

    def write(self, message: Any) -> Iterator[str]:
        owner, name = _parent(message, self.path)
        if _is_set(owner, name):
            yield f"{self.keys[0]}={getattr(owner, name)}"


class Text(Option):
    """KEY=TEXT; left out when empty."""

    def __init__(self, key: str) -> None:
        self.keys = (key,)

    def read(self, message: Any, key: str, value: str) -> None:
        if not value:
            raise InvalidAttachPoint(f"{key} is empty")
        setattr(message, key, unescape(value))

    def write(self, message: Any) -> Iterator[str]:
        if value := getattr(message, self.keys[0]):
            yield f"{self.keys[0]}={escape(value)}"


class Unless(Text):
    """KEY=TEXT where the subject does not say it already."""

    def __init__(self, key: str, said: Callable[[str], object]) -> None:
        super().__init__(key)
        self.said = said

    def write(self, message: Any) -> Iterator[str]:
        if not self.said(getattr(message, self.keys[0])):
            yield from super().write(message)


class Flag(Option):
    """A word for true."""

    def __init__(self, word: str) -> None:
        self.words = (word,)

    def read(self, message: Any, key: str, value: str) -> None:
        setattr(message, key, True)

    def write(self, message: Any) -> Iterator[str]:
        if getattr(message, self.words[0]):
            yield self.words[0]


class Word(Option):
    """One of several words, or KEY=NUMBER for a value that has none."""

    def __init__(self, key: str, values: Mapping[str, int], path: str = "") -> None:
        self.keys = (key,)
        self.values = values
        self.words = tuple(values)
        self.path = path or key

    def read(self, message: Any, key: str, value: str) -> None:
        if key in self.values:
            setattr(message, self.path, self.values[key])
        elif value in self.values:
            setattr(message, self.path, self.values[value])
        else:
            raw = unescape(value)
            if not raw[:1].isdigit():
                raise InvalidAttachPoint(
                    f"{key} is one of {', '.join(self.values)}, not {raw!r}"
                    f"{near(raw, self.values)}"
                )
            is_enum = message.DESCRIPTOR.fields_by_name[self.path].enum_type is not None
            bits = 31 if is_enum else bits_of(message, self.path)[0]
            setattr(message, self.path, number(raw, key, bits))

    def write(self, message: Any) -> Iterator[str]:
        value = getattr(message, self.path)
        word = next((word for word, of in self.values.items() if of == value), None)
        if word is not None:
            yield word
        elif value:
            yield f"{self.keys[0]}={value}"


class Choice(Word):
    """KEY=WORD."""

    def __init__(self, key: str, values: Mapping[str, int], path: str = "") -> None:
        super().__init__(key, values, path)
        self.words = ()

    def write(self, message: Any) -> Iterator[str]:
        for word in super().write(message):
            yield word if "=" in word else f"{self.keys[0]}={word}"


class Numbers(Option):
    """KEY=1:5:8-11; KEY=pass+tx where values have words."""

    def __init__(self, key: str, values: Mapping[str, int] | None = None) -> None:
        self.keys = (key,)
        self.values = values or {}

    def read(self, message: Any, key: str, value: str) -> None:
        found: list[int] = []
        bits, _ = bits_of(message, key)
        parts = split(value, ":")
        if self.values:
            parts = [word for part in parts for word in split(part, "+")]
        for part in parts:
            first, dash, last = part.partition("-")
            if part in self.values:
                found.append(self.values[part])
            elif self.values and not part[:1].isdigit():
                raise InvalidAttachPoint(
                    f"{key} takes {', '.join(self.values)} with + between them, not {part!r}"
                    f"{near(part, self.values)}"
                )
            elif not dash:
                found.append(number(part, key, bits))
            else:
                low, high = number(first, key, bits), number(last, key, bits)
                if not low <= high < low + MAX_RANGE:
                    raise InvalidAttachPoint(f"{key}: {part} is no range")
                found.extend(range(low, high + 1))
        getattr(message, key).extend(found)

    def write(self, message: Any) -> Iterator[str]:
        names = {value: word for word, value in self.values.items()}
        parts: list[str] = []
        values = list(getattr(message, self.keys[0]))
        while values:
            run = 1
            while (
                not names
                and run < min(len(values), MAX_RANGE)
                and (values[run] == values[0] + run)
            ):
                run += 1
            if run > 2:
                parts.append(f"{values[0]}-{values[run - 1]}")
            else:
                run = 1
                parts.append(names.get(values[0], str(values[0])))
            values = values[run:]
        if parts:
            yield f"{self.keys[0]}={('+' if names else ':').join(parts)}"


class Refers(Option):
    """KEY=REFERENCE of a sub-message."""

    def __init__(self, key: str, kind: Reference, path: str = "") -> None:
        self.keys = (key,)
        self.kind = kind
        self.path = path or key

    def read(self, message: Any, key: str, value: str) -> None:
        owner, name = _parent(message, self.path)
        self.kind.read(getattr(owner, name), value)

    def write(self, message: Any) -> Iterator[str]:
        owner, name = _parent(message, self.path)
        if owner.HasField(name) and (text := self.kind.write(getattr(owner, name))):
            yield f"{self.keys[0]}={text}"


class Socket(Option):
    """pid=PID,fd=FD: a socket of a process."""

    keys = ("pid", "fd")

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, message: Any, key: str, value: str) -> None:
        setattr(getattr(message, self.path), key, number(unescape(value), key, 32))

    def write(self, message: Any) -> Iterator[str]:
        if message.HasField(self.path):
            socket = getattr(message, self.path)
            yield f"pid={socket.pid}"
            yield f"fd={socket.fd}"


@dataclass(frozen=True)
class _Anchor:
    key: str
    name: str


class Order(Option):
    """Place among the programs of the hook: first, before_link=7, revision=3, ..."""

    words = ("first",)
    _ANCHORS = tuple(
        _Anchor(f"{place}_{kind}", f"{place}_{kind}_id")
        for place in ("before", "after")
        for kind in ("program", "link")
    )
    keys = (*(anchor.key for anchor in _ANCHORS), "revision")

    def read(self, message: Any, key: str, value: str) -> None:
        order = message.order
        if key == "revision":
            order.expected_revision = number(unescape(value), key)
            return
        if order.WhichOneof("anchor"):
            raise InvalidAttachPoint(f"{key} beside another place in the order")
        if key == "first":
            order.first = True
        for anchor in self._ANCHORS:
            if anchor.key == key:
                setattr(order, anchor.name, number(unescape(value), key, 32))

    def write(self, message: Any) -> Iterator[str]:
        if not message.HasField("order"):
            return
        order = message.order
        kind = order.WhichOneof("anchor")
        if kind == "first":
            yield "first"
        for anchor in self._ANCHORS:
            if anchor.name == kind:
                yield f"{anchor.key}={getattr(order, kind)}"
        if order.expected_revision:
            yield f"revision={order.expected_revision}"


@dataclass(frozen=True)
class Options:
    """The options of one kind of attach point, in the order they are written."""

    entries: tuple[Option, ...] = field(default=())

    def read(self, message: Any, token: str, seen: set[str]) -> None:
        """Set what a token says; InvalidAttachPoint when it says nothing that is known."""
        key, *value = split(token, "=", 1)
        if key in seen:
            raise InvalidAttachPoint(f"{key} is there twice")
        for option in self.entries:
            if key in (option.keys if value else option.words):
                if isinstance(option, Word) and (other := seen & {*option.keys, *option.words}):
                    raise InvalidAttachPoint(f"{key} and {other.pop()} exclude each other")
                seen.add(key)
                option.read(message, key, value[0] if value else "")
                return
        known = [f"{key}=" for option in self.entries for key in option.keys]
        known += [word for option in self.entries for word in option.words]
        if not known:
            raise InvalidAttachPoint(f"{token!r}: nothing is known to follow")
        hint = near(f"{key}=" if value else key, known)
        raise InvalidAttachPoint(
            f"{token!r} is unknown{hint or '; there is ' + ', '.join(known)}"
        )

    def write(self, message: Any) -> Iterator[str]:
        """The tokens of everything that is set."""
        for option in self.entries:
            yield from option.write(message)
