# SPDX-License-Identifier: Apache-2.0
"""The functions in which most was seen; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bpfctl.profiles.model import Sample


@dataclass(frozen=True)
class Function:
    """What was seen in a function, in the samples' unit."""

    name: str
    module: str
    kind: str
    """"kernel" or "user"."""
    self_value: int
    """In the function itself."""
    total: int
    """In it and in what it called; of a function that calls itself once."""


def hottest(samples: Iterable[Sample]) -> list[Function]:
    """Functions, those with most of their own first."""
    own: dict[tuple[str, str, str], int] = {}
    whole: dict[tuple[str, str, str], int] = {}
    for sample in samples:
        names = [(frame.text, frame.module, frame.kind) for frame in sample.stack]
        if not names:
            continue
        own[names[-1]] = own.get(names[-1], 0) + sample.value
        for name in set(names):
            whole[name] = whole.get(name, 0) + sample.value
    found = (Function(*name, own.get(name, 0), total) for name, total in whole.items())
    return sorted(found, key=lambda each: (-each.self_value, -each.total, each.name))
