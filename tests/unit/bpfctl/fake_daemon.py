# SPDX-License-Identifier: Apache-2.0
"""A gRPC server in this process that plays the daemon's part, for tests without a kernel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from bpfd import errors as daemon_errors
from bpfd.v1 import sessions_pb2, sessions_pb2_grpc, target_pb2, target_pb2_grpc

BOOT_ID = "6d5a7b0e-0000-4000-8000-00000000cafe"


class FakeTarget(target_pb2_grpc.TargetServicer):
    """Answers GetTarget; `error` is raised in its place, `hold` delays it."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: daemon_errors.BpfdError | None = None
        self.hold: threading.Event | None = None
        self.cancelled = threading.Event()
        self.btf: dict[int, bytes] = {}
        self.btf_calls = 0
        self.info = target_pb2.TargetInfo(
            hostname="fake", machine="x86_64", boot_id=BOOT_ID, pointer_bits=64
        )

    def GetTarget(
        self, request: target_pb2.GetTargetRequest, context: grpc.ServicerContext
    ) -> target_pb2.TargetInfo:
        self.calls += 1
        if self.error is not None:
            fail(context, self.error)
        if self.hold is not None:
            context.add_callback(self.cancelled.set)
            self.hold.wait(30)
        return self.info

    def GetBtf(
        self, request: target_pb2.GetBtfRequest, context: grpc.ServicerContext
    ) -> Iterator[target_pb2.BtfChunk]:
        self.btf_calls += 1
        data = self.btf[request.id]
        for start in range(0, len(data), 7):
            yield target_pb2.BtfChunk(data=data[start : start + 7])


class FakeSessions(sessions_pb2_grpc.SessionsServicer):
    """Opens sessions; `closing` ends them with a reason."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.reason = ""
        self.ended = threading.Event()
        self.requests: list[sessions_pb2.OpenSessionRequest] = []
        self.drop = threading.Event()
        self.closed: list[str] = []

    def Open(
        self, request: sessions_pb2.OpenSessionRequest, context: grpc.ServicerContext
    ) -> Iterator[sessions_pb2.SessionEvent]:
        self.requests.append(request)
        gone = threading.Event()
        context.add_callback(gone.set)
        context.add_callback(self.ended.set)
        opened = sessions_pb2.SessionOpened(session=request.resume or "s-1")
        yield sessions_pb2.SessionEvent(opened=opened)
        while not gone.wait(0.01):
            if self.drop.is_set():
                self.drop.clear()
                context.abort(grpc.StatusCode.UNAVAILABLE, "dropped")
            if request.resume in self.closed or "s-1" in self.closed:
                return
            if self.closing.is_set():
                closing = sessions_pb2.SessionClosing(reason=self.reason)
                yield sessions_pb2.SessionEvent(closing=closing)
                return

    def Close(
        self, request: sessions_pb2.CloseSessionRequest, context: grpc.ServicerContext
    ) -> sessions_pb2.CloseSessionResponse:
        self.closed.append(request.session)
        return sessions_pb2.CloseSessionResponse()


class FakeDaemon:
    """A server with the fakes above on `addresses`; a context manager."""

    def __init__(
        self,
        address: str,
        credentials: grpc.ServerCredentials | None = None,
        register: Callable[[grpc.Server], None] | None = None,
    ) -> None:
        self.target = FakeTarget()  # type: ignore[abstract]
        self.sessions = FakeSessions()
        self._server = grpc.server(ThreadPoolExecutor(8))
        if register is None:
            target_pb2_grpc.add_TargetServicer_to_server(self.target, self._server)
            sessions_pb2_grpc.add_SessionsServicer_to_server(self.sessions, self._server)
        else:
            register(self._server)
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def __enter__(self) -> FakeDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self.target.hold is not None:
            self.target.hold.set()
        self._server.stop(0).wait()


def fail(context: Any, error: daemon_errors.BpfdError) -> None:
    """End a call as the real daemon does."""
    code, message, metadata = daemon_errors.to_status(error)
    context.set_trailing_metadata(metadata)
    context.abort(code, message)
