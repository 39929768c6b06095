# SPDX-License-Identifier: Apache-2.0
"""What a source sends through its rings, and how the compiler is made to keep those types.

clang writes a type into the BTF when a map, a global variable or the parameter of a function
has it. The record that a program fills in place has none of these: `struct event *e` that
bpf_ringbuf_reserve() gave is known only inside of its function. The source says it, though,
in the call, or in the call of a function of its own around that one, as those that use a
perf buffer where there is no ring. A function that nobody calls, with a parameter of that
type, keeps it; nothing of that function gets into the kernel, as libbpf takes those that are
called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

PREFIX = "bpfd_record_"
"""Of the function that keeps the type of a ring's records; the map's name follows."""

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_FUNCTION = re.compile(r"\b(?!(?:if|for|while|switch)\b)(\w+)\s*\(([^(){};]*)\)\s*\{")
_NAME = re.compile(r"\w+")
_MAP = re.compile(r"&\s*(\w+)")
_SIZE_OF_TYPE = re.compile(r"sizeof\s*\(\s*struct\s+(\w+)\s*\)")
_VARIABLE = re.compile(r"(?:\([^()]*\*\s*\))?[\s&*(]*(\w+)[\s)]*")


@dataclass(frozen=True)
class _Sender:
    """Which arguments of a function are the record, None where it returns that, and its
    size; `ring` is the map itself, or the argument that is."""

    ring: str | int
    data: int | None
    size: int


_HELPERS: Mapping[str, _Sender] = {
    "bpf_ringbuf_reserve": _Sender(0, None, 1),
    "bpf_ringbuf_output": _Sender(0, 1, 2),
    "bpf_perf_event_output": _Sender(1, 3, 4),
}


def sent(source: str, headers: Iterable[str] = ()) -> dict[str, str]:
    """Names of the structs that a C source and its own headers send, by the names of maps.

    Only what is written plainly is found; maps that get different structs are left out.
    """
    text = "\n".join(_COMMENT.sub(_blank, part) for part in (*headers, source))
    found: dict[str, set[str]] = {}
    for name, struct in _structs(text, {**_HELPERS, **_wrappers(text)}):
        found.setdefault(name, set()).add(struct)
    return {name: structs.pop() for name, structs in found.items() if len(structs) == 1}


def keeper(name: str, source: bytes, records: dict[str, str]) -> bytes:
    """The source, called `name` in messages and line numbers, that keeps these types."""
    path = name.replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        f"static __attribute__((used)) void {PREFIX}{ring}(const struct {struct} *record) "
        "{ (void)record; }\n"
        for ring, struct in records.items()
    ]
    begin = f'#line 1 "{path}"\n'.encode(errors="surrogateescape")
    return begin + source + b"\n" + "".join(lines).encode()


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _structs(text: str, senders: Mapping[str, _Sender]) -> Iterator[tuple[str, str]]:
    """(map, struct) of each call that says both."""
    for ring, target, sender, arguments, end in _calls(text, senders):
        named = _SIZE_OF_TYPE.fullmatch(arguments[sender.size])
        if named is not None:
            yield ring, named[1]
            continue
        if sender.data is not None:
            variable = _VARIABLE.fullmatch(arguments[sender.data])
            target = variable[1] if variable else None
        struct = _declared(text[:end], target) if target else None
        if struct is not None:
            yield ring, struct


def _wrappers(text: str) -> dict[str, _Sender]:
    """Functions that hand the size of a record, and the record, on to a helper."""
    found = {}
    for match in _FUNCTION.finditer(text):
        parameters = [(_NAME.findall(part) or [""])[-1] for part in match[2].split(",")]
        body = text[match.end() : _closing(text, match.end())]
        for ring, _, sender, arguments, _ in _calls(body, _HELPERS):
            size = arguments[sender.size]
            data = None if sender.data is None else arguments[sender.data]
            if size in parameters and (data is None or data in parameters):
                place = None if data is None else parameters.index(data)
                found[match[1]] = _Sender(ring, place, parameters.index(size))
    return found


def _calls(
    text: str, senders: Mapping[str, _Sender]
) -> Iterator[tuple[str, str | None, _Sender, list[str], int]]:
    """(map, variable that takes the result, function, arguments, where they begin)."""
    call = re.compile(rf"(?:\b(\w+)\s*=\s*)?\b({'|'.join(senders)})\s*\(")
    for match in call.finditer(text):
        sender = senders[match[2]]
        arguments = [argument.strip() for argument in _arguments(text, match.end())]
        if len(arguments) <= sender.size:
            continue
        ring: str | None
        if isinstance(sender.ring, int):
            named = _MAP.fullmatch(arguments[sender.ring])
            ring = named[1] if named else None
        else:
            ring = sender.ring
        if ring is not None:
            yield ring, match[1], sender, arguments, match.end()


def _closing(text: str, at: int) -> int:
    """Where the brace closes that opens before `at`."""
    depth = 1
    for match in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    return len(text)


def _declared(before: str, variable: str) -> str | None:
    """The struct of a variable or of what it points to, by its last declaration."""
    declaration = re.compile(
        rf"\bstruct\s+(\w+)\s*\*?\s*(?:\w+\s*(?:=[^;,]*)?,\s*\*?\s*)*\b{variable}\s*[;=,)]"
    )
    found = None
    for match in declaration.finditer(before):
        found = match[1]
    return found


def _arguments(text: str, at: int) -> list[str]:
    """The arguments of a call whose parenthesis opens before `at`."""
    found: list[str] = []
    depth, start = 0, at
    for place in range(at, min(len(text), at + 2000)):
        letter = text[place]
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if depth < 0:
            return [*found, text[start:place]]
        if letter == "," and depth == 0:
            found.append(text[start:place])
            start = place + 1
    return []
