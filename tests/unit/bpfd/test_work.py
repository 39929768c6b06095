# SPDX-License-Identifier: Apache-2.0
"""Blocking work and callers that go away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

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


@pytest.mark.parametrize("cancellable", [True, False])
async def test_a_second_cancel_does_not_leave_the_work_alone(cancellable: bool) -> None:
    started, go_on = threading.Event(), threading.Event()
    undone: list[str] = []

    def function(_: Cancel) -> str:
        started.set()
        go_on.wait()
        return "loaded"

    task: asyncio.Task[str] = asyncio.create_task(
        work.run_cancellable(function, undone.append)
        if cancellable
        else work.run(function, lambda: False)
    )
    await asyncio.to_thread(started.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == (["loaded"] if cancellable else [])


async def test_a_signal_meets_only_the_work_that_was_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread may be at the next call's work before the event loop knows."""
    pool = ThreadPoolExecutor(1)
    monkeypatch.setattr(work, "_pool", lambda: pool)
    running: list[str] = []
    met: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def kill(thread: int, number: int) -> None:
        go_on.set()
        time.sleep(0.05)
        met.append(running[-1])

    def first(_: Cancel) -> None:
        running.append("first")
        started.set()
        go_on.wait()

    monkeypatch.setattr(signal, "pthread_kill", kill)
    task = asyncio.create_task(work.run_cancellable(first, lambda _: None))
    await asyncio.to_thread(started.wait)
    second = asyncio.create_task(work.run(running.append, "second"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task, second})
    assert set(met) == {"first"}
    assert running[:2] == ["first", "second"]
    pool.shutdown()


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
