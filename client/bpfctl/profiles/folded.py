# SPDX-License-Identifier: Apache-2.0
"""Folded stacks: `PROCESS;FRAME;...;FRAME VALUE`, one stack a line, the root first.

What flamegraph.pl, difffolded.pl, speedscope and inferno read. Nothing but stacks and values
fits in: files, lines, modules, processes' numbers and what was missed are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bpfctl.errors import InvalidArgument
from bpfctl.profiles import labels
from bpfctl.profiles.model import Frame, Profile, Sample


def sums(samples: Iterable[Sample]) -> dict[str, int]:
    """Values by folded stack; those of processes with the same name come together."""
    parts: dict[int, str] = {}
    found: dict[str, int] = {}
    for sample in samples:
        stack = []
        if name := labels.process(sample):
            stack.append(labels.folded(name))
        for frame in sample.stack:
            part = parts.get(id(frame))
            if part is None:
                part = parts[id(frame)] = labels.marked(frame)
            stack.append(part)
        line = ";".join(stack) or "[unknown]"
        found[line] = found.get(line, 0) + sample.value
    return found


def write(profile: Profile) -> Iterator[str]:
    """Lines with their ends, the heaviest stack first."""
    for stack, value in sorted(sums(profile.samples).items(), key=lambda item: -item[1]):
        yield f"{stack} {value}\n"


def read(text: str) -> Profile:
    """The profile of folded stacks; InvalidArgument names the line that is none.

    Processes are frames like others: nothing tells them apart.
    """
    frames: dict[str, Frame] = {}
    samples = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("# "):
            continue
        stack, space, value = line.rpartition(" ")
        if not space or not stack.strip() or not _counts(value):
            raise InvalidArgument(
                "profile", f"line {number} is no folded stack with its value: {line[:60]!r}"
            )
        found = []
        for part in stack.split(";"):
            frame = frames.get(part)
            if frame is None:
                frame = frames[part] = labels.unmarked(part)
            found.append(frame)
        samples.append(
            Sample(tuple(found), round(float(value)) if "." in value else int(value))
        )
    return Profile(samples)


def _counts(value: str) -> bool:
    whole, _, part = value.partition(".")
    return value.isascii() and whole.isdigit() and (not part or part.isdigit())
