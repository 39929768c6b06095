# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bpfd.interceptor import Context
from bpfd.sessions import Sessions
from bpfd.v1 import sessions_pb2, sessions_pb2_grpc


class SessionsService(sessions_pb2_grpc.SessionsServicer):
    """A stream for each session."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def Open(
        self, request: sessions_pb2.OpenSessionRequest, context: Context
    ) -> AsyncIterator[sessions_pb2.SessionEvent]:
        grace = request.grace.ToTimedelta().total_seconds()
        session = self._sessions.open(request.label, grace, request.resume)
        try:
            opened = sessions_pb2.SessionOpened(session=session.id)
            opened.opened_at.FromNanoseconds(int(session.opened_at * 1e9))
            yield sessions_pb2.SessionEvent(opened=opened)
            reason = await asyncio.shield(session.closing)
            yield sessions_pb2.SessionEvent(closing=sessions_pb2.SessionClosing(reason=reason))
        finally:
            self._sessions.leave(session)

    async def Close(
        self, request: sessions_pb2.CloseSessionRequest, context: Context
    ) -> sessions_pb2.CloseSessionResponse:
        await self._sessions.end(request.session)
        return sessions_pb2.CloseSessionResponse()
