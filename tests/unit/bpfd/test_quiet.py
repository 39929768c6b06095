# SPDX-License-Identifier: Apache-2.0
"""Something is done once after the last call, and not while one is served."""

from __future__ import annotations

import asyncio

from bpfd.interceptor import Activity
from bpfd.quiet import Quiet


async def test_it_is_done_once_after_each_time_of_calls() -> None:
    activity = Activity()
    done: list[int] = []
    Quiet(activity, 0.01, lambda: done.append(activity.calls))
    await asyncio.sleep(0.05)
    assert done == []
    activity.add(1)
    activity.add(-1)
    await asyncio.sleep(0.05)
    assert done == [0]
    await asyncio.sleep(0.05)
    assert done == [0]
    activity.add(1)
    activity.add(-1)
    await asyncio.sleep(0.05)
    assert done == [0, 0]


async def test_it_is_not_done_while_a_call_is_served() -> None:
    activity = Activity()
    done: list[int] = []
    Quiet(activity, 0.01, lambda: done.append(activity.calls))
    activity.add(1)
    await asyncio.sleep(0.05)
    assert done == []
    activity.add(-1)
    await asyncio.sleep(0.05)
    assert done == [0]


async def test_calls_in_between_put_it_off() -> None:
    activity = Activity()
    done: list[int] = []
    Quiet(activity, 0.2, lambda: done.append(activity.calls))
    for _ in range(4):
        activity.add(1)
        activity.add(-1)
        await asyncio.sleep(0.1)
    assert done == []
