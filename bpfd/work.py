# SPDX-License-Identifier: Apache-2.0
"""Blocking kernel work off the event loop, ended when its caller goes away."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from bpfd.kernel.load_options import Cancel, Cancelled

P = ParamSpec("P")
T = TypeVar("T")

INTERRUPT = signal.SIGUSR1
"""Sent to a worker thread: system calls, the verifier among them, return early."""

_RETRY_SECONDS = 0.02


@functools.cache
def _pool() -> ThreadPoolExecutor:
    signal.signal(INTERRUPT, lambda *_: None)
    return ThreadPoolExecutor(max_workers=16, thread_name_prefix="work")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a blocking function to its end in a thread, whatever becomes of the caller.

    A caller that is cancelled waits until the function has ended.
    """
    future = asyncio.get_running_loop().run_in_executor(
        _pool(), functools.partial(function, *args, **kwargs)
    )
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _ended(future)
        raise
    finally:
        # Its error's traceback leads to this frame: as a circle the two would keep the
        # request, which may have megabytes, until the garbage collector comes.
        del future


async def _ended(
    future: asyncio.Future[T], interrupt: Callable[[], None] | None = None
) -> None:
    """Waits for the end, however often the caller is cancelled meanwhile."""
    while not future.done():
        if interrupt is not None:
            interrupt()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({future}, timeout=_RETRY_SECONDS if interrupt else None)


async def run_cancellable(function: Callable[[Cancel], T], undo: Callable[[T], object]) -> T:
    """Runs `function(cancelled)` in a thread; a cancel or deadline of the call ends it.

    The verifier looks for signals now and then (do_check() in kernel/bpf/verifier.c), so
    the thread is sent one until it comes back. A result that came too late is undone.
    """
    gone = threading.Event()
    worker: list[int] = []
    lock = threading.Lock()

    def work() -> T:
        worker.append(threading.get_ident())
        try:
            if gone.is_set():
                raise Cancelled
            return function(gone.is_set)
        finally:
            with lock:  # from here on the thread works for others
                worker.clear()

    def interrupt() -> None:
        with lock, contextlib.suppress(OSError):  # a thread that the kernel took away
            if worker:
                signal.pthread_kill(worker[0], INTERRUPT)

    future = asyncio.get_running_loop().run_in_executor(_pool(), work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        gone.set()
        await _ended(future, interrupt)
        if future.exception() is None:
            await run(undo, future.result())
        raise
    finally:
        del future  # as in `run`
