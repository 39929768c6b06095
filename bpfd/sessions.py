# SPDX-License-Identifier: Apache-2.0
"""Sessions: who is there, and what happens when somebody leaves.

Lives in the event loop; `alive()` and `label()` may be called from any thread.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bpfd.errors import InvalidArgument, LeaseExpired, LimitExceeded

MAX_SESSIONS = 256
MAX_GRACE_SECONDS = 3600.0
MAX_LABEL_BYTES = 128


@dataclass
class Session:
    """One client's stay. `closing` tells its stream why the daemon ends it."""

    id: str
    label: str
    grace: float
    opened_at: float
    closing: asyncio.Future[str]
    attached: bool = True
    timer: asyncio.TimerHandle | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Sessions:
    """All sessions of a daemon. `on_end` gives back what a session owned."""

    def __init__(self) -> None:
        self.on_end: list[Callable[[str], Awaitable[None]]] = []
        self._sessions: dict[str, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> bool:
        """Whether a session lives, be it within its grace period."""
        return bool(self._sessions)

    @property
    def count(self) -> int:
        """How many live, those within their grace period included."""
        return len(self._sessions)

    def alive(self, session: str) -> bool:
        """Whether the session may still own new things."""
        return session in self._sessions

    def label(self, session: str) -> str:
        """What the client called itself."""
        found = self._sessions.get(session)
        return found.label if found else ""

    def require(self, session: str) -> None:
        """Raises LeaseExpired unless the session lives."""
        if not self.alive(session):
            raise LeaseExpired(session)

    def open(self, label: str, grace: float, resume: str) -> Session:
        """A new session, or one taken up again within its grace period."""
        if len(label.encode()) > MAX_LABEL_BYTES:
            raise InvalidArgument("label", f"more than {MAX_LABEL_BYTES} bytes")
        if not 0 <= grace <= MAX_GRACE_SECONDS:
            raise InvalidArgument("grace", f"0 to {MAX_GRACE_SECONDS:g} seconds")
        if resume:
            return self._resume(resume)
        if len(self._sessions) >= MAX_SESSIONS:
            raise LimitExceeded(
                "open sessions", MAX_SESSIONS, hint="end some of the clients that are connected"
            )
        session = Session(
            id=secrets.token_urlsafe(16),
            label=label,
            grace=grace,
            opened_at=time.time(),
            closing=asyncio.get_running_loop().create_future(),
        )
        self._sessions[session.id] = session
        return session

    def _resume(self, token: str) -> Session:
        session = self._sessions.get(token)
        if session is None:
            raise LeaseExpired(token)
        if session.attached:
            raise InvalidArgument("resume", "the session's stream is still there")
        if session.timer is not None:
            session.timer.cancel()
            session.timer = None
        session.attached = True
        return session

    def leave(self, session: Session) -> None:
        """The stream has ended: the session ends now or after its grace period."""
        session.attached = False
        if session.id not in self._sessions:
            return
        if session.grace and not session.closing.done():
            loop = asyncio.get_running_loop()
            session.timer = loop.call_later(session.grace, self._end, session)
        else:
            self._end(session)

    async def end(self, token: str) -> None:
        """Ends a session and returns when all that it owned is gone."""
        session = self._sessions.get(token)
        if session is None:
            raise LeaseExpired(token)
        self._end(session)
        await session.ended.wait()
        if not session.closing.done():
            session.closing.set_result("the client said so")

    def _end(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is None:
            return
        if session.timer is not None:
            session.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._give_back(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_back(self, session: Session) -> None:
        try:
            for callback in self.on_end:
                await callback(session.id)
        finally:
            session.ended.set()

    async def close(self, reason: str) -> None:
        """The daemon ends: tells every stream, then gives everything back."""
        for session in list(self._sessions.values()):
            if not session.closing.done():
                session.closing.set_result(reason)
            self._end(session)
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
