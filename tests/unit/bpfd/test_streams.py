# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from bpfd.streams import batched, from_blocking


def test_batches() -> None:
    assert list(batched(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched(iter(range(0)), 3)) == []


async def test_steps_run_in_threads() -> None:
    main = threading.get_ident()

    def numbers() -> Iterator[tuple[int, bool]]:
        for number in range(3):
            yield number, threading.get_ident() == main

    found = [item async for item in from_blocking(numbers)]
    assert found == [(0, False), (1, False), (2, False)]


async def test_a_reader_that_leaves_ends_the_generator() -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    async with aclosing(from_blocking(endless)) as stream:
        async for _ in stream:
            break
    assert ended.is_set()


async def test_exceptions_come_through() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    stream = from_blocking(broken)
    assert await anext(stream) == 1
    with pytest.raises(ZeroDivisionError):
        await anext(stream)
