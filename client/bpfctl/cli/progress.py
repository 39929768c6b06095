# SPDX-License-Identifier: Apache-2.0
"""A bar on standard error for work that takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from bpfctl.progress import Progress, silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

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


@contextmanager
def shown() -> Iterator[Progress]:
    """Something to tell progress in bytes to; a bar appears after DELAY seconds.

    Nothing is shown where standard error is no terminal.
    """
    if not sys.stderr.isatty():
        yield silent
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            if time.monotonic() - self._started < DELAY:
                return
            self._bar = self._begin()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total or None)
        self._bar.update(self._tasks[what], completed=done, total=total or None)

    def _begin(self) -> RichProgress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(file=sys.stderr),
            transient=True,
        )
        bar.start()
        return bar

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
