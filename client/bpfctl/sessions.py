# SPDX-License-Identifier: Apache-2.0
"""Sessions: what a client loads in one ends with it, however the client ends."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from bpfctl.errors import BpfctlError, CallFailed, TargetUnreachable

if TYPE_CHECKING:
    from bpfctl.rpc import Rpc, Stream
    from bpfctl.target import Target
    from bpfd.v1 import sessions_pb2

_CLOSE_SECONDS = 60.0
"""Longest wait for the end of all that a session owned; the daemon goes on after it."""


class Session:
    """Owns what is loaded and attached with it; open from its creation to `close`.

    `grace` (seconds) lets it outlive a broken connection; it is taken up again by itself
    within that time.
    """

    def __init__(self, target: Target, label: str, grace: float = 0.0) -> None:
        self._target = target
        self._rpc: Rpc = target.rpc
        self._label = label
        self._grace = grace
        self._closed = False
        self.ended: BpfctlError | None = None
        """Why the session ended before `close`; None while it lives."""
        self.end = threading.Event()
        """Set when the session has ended before `close`."""
        self._stream, self.id = self._open("")
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _open(self, resume: str) -> tuple[Stream[sessions_pb2.SessionEvent], str]:
        from bpfd.v1 import sessions_pb2

        request = sessions_pb2.OpenSessionRequest(label=self._label, resume=resume)
        if self._grace:
            request.grace.FromNanoseconds(round(self._grace * 1e9))
        stream = self._rpc.stream(self._rpc.sessions.Open, request, "Sessions.Open")
        first = next(stream, None)
        if first is None or first.WhichOneof("event") != "opened":
            stream.close()
            raise CallFailed("Sessions.Open", "OK", "the daemon opened no session")
        return stream, first.opened.session

    def _watch(self) -> None:
        reason: BpfctlError = TargetUnreachable(self._target.name, "the session's stream ended")
        while not self._closed:
            try:
                for event in self._stream:
                    if event.WhichOneof("event") == "closing":
                        why = event.closing.reason or "no reason was given"
                        self._end(
                            TargetUnreachable(
                                self._target.name, f"the daemon ended the session: {why}"
                            )
                        )
                        return
            except BpfctlError as error:
                reason = error
            if self._closed or not self._take_up():
                break
        if not self._closed:
            self._end(reason)

    def _take_up(self) -> bool:
        """Resume the session after its stream broke; False: it is over."""
        until = time.monotonic() + self._grace
        pause = 0.1
        while not self._closed and time.monotonic() < until:
            try:
                self._stream, self.id = self._open(self.id)
                return True
            except (TargetUnreachable, CallFailed):
                time.sleep(pause)
                pause = min(pause * 2, 2.0)
            except BpfctlError:
                return False
        return False

    def _end(self, reason: BpfctlError) -> None:
        self.ended = reason
        self.end.set()

    def close(self) -> None:
        """End the session; when this returns, nothing that it owned is attached or loaded."""
        if self._closed:
            return
        self._closed = True
        from bpfd.v1 import sessions_pb2

        try:
            if self.ended is None:
                request = sessions_pb2.CloseSessionRequest(session=self.id)
                self._rpc.call(
                    self._rpc.sessions.Close, request, "Sessions.Close", _CLOSE_SECONDS
                )
        finally:
            self._stream.close()
            self._watcher.join(5)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
