# SPDX-License-Identifier: Apache-2.0
"""The same work on several targets at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from bpfctl.target import Target

T = TypeVar("T")

AT_ONCE = 16
"""Targets that are worked on at the same time."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of the work on one target: a value, or an error."""

    target: str
    value: T | None = None
    error: Exception | None = None


def on_each(
    names: Iterable[str], work: Callable[[Target], T], *, at_once: int = AT_ONCE
) -> Generator[Outcome[T], None, None]:
    """Connects to each target and does the work, each in a thread of its own.

    Outcomes come in the order of `names`, the first as soon as it is there. An error on one
    target stops none of the others. Whoever stops to listen, as by Ctrl-C, ends what has
    not begun; what is under way ends with its connection, at the latest with the process.
    """
    import bpfctl

    def run(name: str) -> Outcome[T]:
        try:
            with bpfctl.connect(name) as target:
                return Outcome(name, work(target))
        except Exception as error:
            return Outcome(name, error=error)

    pool = ThreadPoolExecutor(at_once, thread_name_prefix="target")
    try:
        for future in [pool.submit(run, name) for name in names]:
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
