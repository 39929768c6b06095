# SPDX-License-Identifier: Apache-2.0
"""Blocking generators as asynchronous ones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

from bpfd import work

T = TypeVar("T")


async def from_blocking(make: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Runs `make` and every step of its iterator in a thread, one after the other.

    When the caller goes away, the step that runs is the last one.
    """
    end = object()
    iterator = await work.run(make)
    try:
        while (item := await work.run(next, iterator, end)) is not end:
            yield item  # type: ignore[misc]
    finally:
        if (close := getattr(iterator, "close", None)) is not None:
            await work.run(close)


def batched(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
