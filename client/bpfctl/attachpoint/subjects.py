# SPDX-License-Identifier: Apache-2.0
"""What stands behind the colon of an attach point."""

from __future__ import annotations

import re
from typing import Any

from .options import bits_of
from .references import Reference
from .text import InvalidAttachPoint, escape, near, number, split, unescape

_GLOB = re.compile(r"(?:[^\\*?\[]|\\.)*[*?\[]", re.DOTALL)
"""Matches a text with a glob character that is not escaped."""

SOFTWARE_EVENTS = (
    *("cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations"),
    *("minor-faults", "major-faults", "alignment-faults", "emulation-faults", "dummy"),
    *("bpf-output", "cgroup-switches"),
)
"""enum perf_sw_ids of include/uapi/linux/perf_event.h, type 1, in perf's words."""

HARDWARE_EVENTS = (
    *("cpu-cycles", "instructions", "cache-references", "cache-misses", "branch-instructions"),
    *("branch-misses", "bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend"),
    "ref-cycles",
)
"""enum perf_hw_id, type 0."""

PERF_EVENTS = {name: (1, n) for n, name in enumerate(SOFTWARE_EVENTS)} | {
    name: (0, n) for n, name in enumerate(HARDWARE_EVENTS)
}


class Subject:
    """The part of an attach point that says where."""

    hint = ""
    """How it looks; empty: there is none."""
    optional = False

    def read(self, message: Any, raw: str) -> None:
        """Set the fields from a text with its escapes; raises InvalidAttachPoint."""
        raise InvalidAttachPoint(f"nothing stands behind the colon, not {raw!r}")

    def write(self, message: Any) -> str:
        """The text with its escapes; empty: nothing is set."""
        return ""


class Fixed(Subject):
    """What a program was loaded for; see `attachpoint.functions`."""

    def read(self, message: Any, raw: str) -> None:
        raise InvalidAttachPoint(
            f"{raw!r} is fixed when the program is loaded, and no part of where it is attached"
        )


class Refers(Subject):
    """A reference in a sub-message."""

    def __init__(self, name: str, kind: Reference, optional: bool = False) -> None:
        self.name, self.kind, self.hint, self.optional = name, kind, kind.hint, optional

    def read(self, message: Any, raw: str) -> None:
        self.kind.read(getattr(message, self.name), raw)

    def write(self, message: Any) -> str:
        return self.kind.write(getattr(message, self.name))


class Text(Subject):
    """A name."""

    def __init__(self, name: str) -> None:
        self.name, self.hint = name, name.upper()

    def read(self, message: Any, raw: str) -> None:
        setattr(message, self.name, _full(raw, self.hint))

    def write(self, message: Any) -> str:
        return escape(getattr(message, self.name))


class Tracepoint(Subject):
    """CATEGORY/NAME as in tracefs."""

    hint = "CATEGORY/NAME"

    def read(self, message: Any, raw: str) -> None:
        parts = split(raw, "/", 1)
        if len(parts) != 2:
            raise InvalidAttachPoint(
                f"a tracepoint is CATEGORY/NAME, as sched/sched_switch, not {raw!r}"
            )
        message.category = _full(parts[0], "CATEGORY")
        message.name = _full(parts[1], "NAME")

    def write(self, message: Any) -> str:
        if not message.name:
            return ""
        return f"{escape(message.category, '/')}/{escape(message.name)}"


class Function(Subject):
    """FUNCTION[+OFFSET] or a hexadecimal address, in a binary or in the kernel."""

    def __init__(self, number_name: str, in_binary: bool) -> None:
        self.number_name, self.in_binary = number_name, in_binary
        what = f"FUNCTION[+OFFSET] or 0x{number_name.upper()}"
        self.hint = f"BINARY:{what}" if in_binary else what

    def read(self, message: Any, raw: str) -> None:
        if self.in_binary:
            binary, *rest = split(raw, ":", 1)
            if not rest:
                raise InvalidAttachPoint(f"{raw!r}: a function follows, as {self.hint}")
            message.binary = _full(binary, "BINARY")
            raw = rest[0]
        name, *offset = split(raw, "+", 1)
        if name.startswith("0x"):
            value = number(name, self.number_name)
            setattr(message, self.number_name, value)
        else:
            message.function = _full(name, "FUNCTION")
        if offset:
            message.offset = number(unescape(offset[0]), "the offset")

    def write(self, message: Any) -> str:
        kind = message.WhichOneof("where")
        if kind is None:
            return ""
        text = f"{escape(message.binary, ':')}:" if self.in_binary else ""
        if kind == "function":
            text += _not_number(escape(message.function, "+"))
        else:
            text += hex(getattr(message, kind))
        return f"{text}+{message.offset}" if message.offset else text


class Functions(Subject):
    """FUNCTION[:FUNCTION...], a glob pattern, or hexadecimal addresses."""

    def __init__(self, numbers_name: str, in_binary: bool) -> None:
        self.numbers_name, self.in_binary = numbers_name, in_binary
        what = "FUNCTION[:FUNCTION...] or PATTERN"
        self.hint = f"BINARY:{what}" if in_binary else what
        self.optional = not in_binary

    def read(self, message: Any, raw: str) -> None:
        parts = split(raw, ":")
        if self.in_binary:
            message.binary = _full(parts.pop(0), "BINARY")
        for part in parts:
            if part.startswith("0x"):
                getattr(message, self.numbers_name).append(number(part, "an address"))
            elif _GLOB.match(part):
                if message.pattern:
                    raise InvalidAttachPoint("one pattern at most")
                message.pattern = unescape(part)
            else:
                message.functions.append(_full(part, "FUNCTION"))

    def write(self, message: Any) -> str:
        parts = [escape(message.binary, ":")] if self.in_binary else []
        parts += [_not_number(escape(name, ":*?[")) for name in message.functions]
        parts += [hex(value) for value in getattr(message, self.numbers_name)]
        if is_glob(message.pattern):
            parts.append(_not_number(escape(message.pattern, ":")))
        return ":".join(parts)


class Usdt(Subject):
    """BINARY:PROVIDER:NAME."""

    hint = "BINARY:PROVIDER:NAME"

    def read(self, message: Any, raw: str) -> None:
        parts = split(raw, ":")
        if len(parts) != 3:
            raise InvalidAttachPoint(f"a USDT probe is {self.hint}, not {raw!r}")
        for name, part in zip(("binary", "provider", "name"), parts, strict=True):
            setattr(message, name, _full(part, name.upper()))

    def write(self, message: Any) -> str:
        parts = (message.binary, message.provider, message.name)
        return ":".join(escape(part, ":") for part in parts) if any(parts) else ""


class PerfEvent(Subject):
    """A name of perf, or TYPE:CONFIG in numbers."""

    hint = "EVENT, as cpu-clock, or TYPE:CONFIG"

    def read(self, message: Any, raw: str) -> None:
        if raw in PERF_EVENTS:
            message.type, message.config = PERF_EVENTS[raw]
            return
        kind, *config = split(raw, ":", 1)
        if not config:
            raise InvalidAttachPoint(f"there is no perf event {raw!r}{near(raw, PERF_EVENTS)}")
        message.type = number(kind, "the type", bits_of(message, "type")[0])
        message.config = number(config[0], "the config")

    def write(self, message: Any) -> str:
        for name, event in PERF_EVENTS.items():
            if event == (message.type, message.config):
                return name
        return f"{message.type}:{message.config:#x}"


def is_glob(pattern: str) -> bool:
    """Whether a text is a pattern by its looks."""
    return bool(_GLOB.match(escape(pattern, ":")))


def _full(raw: str, what: str) -> str:
    if not raw:
        raise InvalidAttachPoint(f"{what} is empty")
    return unescape(raw)


def _not_number(text: str) -> str:
    return f"\\{text}" if text.startswith("0x") else text
