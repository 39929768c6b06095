# SPDX-License-Identifier: Apache-2.0
"""What a source sends through its rings, and how the compiler is made to keep those types.

clang writes a type into the BTF when a map, a global variable or the parameter of a function
has it. The record that a program fills in place has none of these: `struct event *e` that
bpf_ringbuf_reserve() gave is known only inside of its function. The source says it, though,
in the call. A function that nobody calls, with a parameter of that type, keeps it; nothing
of that function gets into the kernel, as libbpf takes those that are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PREFIX = "bpfd_record_"
"""Of the function that keeps the type of a ring's records; the map's name follows."""

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_CALL = re.compile(
    r"(?:\b(\w+)\s*=\s*)?\bbpf_(ringbuf_reserve|ringbuf_output|perf_event_output)\s*\("
)
_MAP = re.compile(r"&\s*(\w+)")
_SIZE_OF_TYPE = re.compile(r"sizeof\s*\(\s*struct\s+(\w+)\s*\)")
_VARIABLE = re.compile(r"(?:\([^()]*\*\s*\))?[\s&*(]*(\w+)[\s)]*")
# Where the map and the data are among the arguments.
_ARGUMENTS = {
    "ringbuf_reserve": (0, None, 1),
    "ringbuf_output": (0, 1, 2),
    "perf_event_output": (1, 3, 4),
}


def sent(source: str) -> dict[str, str]:
    """Names of the structs that a C source sends, by the names of maps.

    Only what is written plainly is found; maps that get different structs are left out.
    """
    text = _COMMENT.sub(lambda match: " " * len(match.group()), source)
    found: dict[str, set[str]] = {}
    for name, struct in _calls(text):
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


def _calls(text: str) -> Iterator[tuple[str, str]]:
    """(map, struct) of each call that says both."""
    for match in _CALL.finditer(text):
        target, function = match.groups()
        arguments = _arguments(text, match.end())
        place, data, size = _ARGUMENTS[function]
        if len(arguments) <= size:
            continue
        ring = _MAP.fullmatch(arguments[place].strip())
        if ring is None:
            continue
        named = _SIZE_OF_TYPE.fullmatch(arguments[size].strip())
        if named is not None:
            yield ring[1], named[1]
            continue
        if data is not None:
            variable = _VARIABLE.fullmatch(arguments[data].strip())
            target = variable[1] if variable else None
        struct = _declared(text[: match.end()], target) if target else None
        if struct is not None:
            yield ring[1], struct


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
