# SPDX-License-Identifier: Apache-2.0
"""How long work tells how far it is; `bpfctl.cli.progress` draws it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told now and then what is being done and how much of it."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` bytes; a total of 0 is not known yet."""
        ...


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""
