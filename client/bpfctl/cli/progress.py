# SPDX-License-Identifier: Apache-2.0
"""A bar on standard error for work that takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

DELAY = 1.0
"""Seconds after which a bar appears; what is done before shows none."""


def counted(
    pieces: Iterable[T], size: Callable[[T], int], total: int, what: str
) -> Iterator[T]:
    """Passes `pieces` on; shows how many of `total` they are by `size`.

    Nothing is shown where standard error is no terminal, or where standard output is one:
    there the output itself shows that something happens. `total` may be a bound that is
    not reached.
    """
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield from pieces
        return
    started = time.monotonic()
    done = 0
    iterator = iter(pieces)
    for piece in iterator:
        done += size(piece)
        yield piece
        if time.monotonic() - started >= DELAY:
            break
    else:
        return
    yield from _with_bar(iterator, size, done, total, what)


def _with_bar(
    pieces: Iterator[T], size: Callable[[T], int], done: int, total: int, what: str
) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for piece in pieces:
            yield piece
            bar.advance(task, size(piece))
