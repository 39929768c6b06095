# SPDX-License-Identifier: Apache-2.0
"""Does something once when no call was served for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bpfd.interceptor import Activity


class Quiet:
    """Calls `action` when for `seconds` no call was served, after each time there was one.

    Between that and the next call nothing wakes up.
    """

    def __init__(self, activity: Activity, seconds: float, action: Callable[[], None]) -> None:
        self._activity = activity
        self._seconds = seconds
        self._action = action
        self._timer: asyncio.TimerHandle | None = None
        self._changes = 0
        activity.watchers.append(self._changed)

    def _changed(self) -> None:
        self._changes += 1
        if self._timer is None:
            self._wait()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._look, self._changes)

    def _look(self, changes: int) -> None:
        self._timer = None
        if changes != self._changes:
            self._wait()
        elif self._activity.calls == 0:
            self._action()
