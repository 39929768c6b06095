# SPDX-License-Identifier: Apache-2.0
"""Blocking work and callers that go away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import weakref

import pytest

from bpfd import work
from bpfd.kernel.load_options import Cancel, Cancelled


async def test_a_result_and_an_error_come_back() -> None:
    assert await work.run(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await work.run_cancellable(lambda _: 1 // 0, lambda _: None)


async def test_a_cancel_reaches_the_function_and_waits_for_it() -> None:
    started, ended = threading.Event(), threading.Event()

    def function(cancelled: Cancel) -> None:
        started.set()
        while not cancelled():
            time.sleep(0.001)
        ended.set()
        raise Cancelled

    task = asyncio.create_task(work.run_cancellable(function, lambda _: None))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_result_that_comes_too_late_is_undone() -> None:
    started = threading.Event()
    undone: list[str] = []

    def function(cancelled: Cancel) -> str:
        started.set()
        while not cancelled():
            time.sleep(0.001)
        return "loaded"

    task = asyncio.create_task(work.run_cancellable(function, undone.append))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert undone == ["loaded"]


class Request:
    """Large, in real life."""


@pytest.mark.parametrize("cancellable", [True, False])
async def test_a_failure_keeps_nothing_of_its_request(cancellable: bool) -> None:
    """The error's traceback must not lead back to itself: requests have megabytes."""

    def fail(request: Request) -> None:
        raise ValueError("no")

    async def call(request: Request) -> None:
        if cancellable:
            await work.run_cancellable(lambda _: fail(request), lambda _: None)
        else:
            await work.run(fail, request)

    gc.disable()
    try:
        request = Request()
        alive = weakref.ref(request)
        with contextlib.suppress(ValueError):
            await call(request)
        del request
        # The thread lets go of what it ran a moment after its result is here.
        for _ in range(1000):
            if alive() is None:
                break
            await asyncio.sleep(0.001)
        assert alive() is None
    finally:
        gc.enable()
