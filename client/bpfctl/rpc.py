# SPDX-License-Identifier: Apache-2.0
"""Calls of a target's services; failures come out as the kinds of `bpfctl.errors`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from bpfctl.errors import BpfctlError, TargetUnreachable, from_rpc

if TYPE_CHECKING:
    from bpfctl.transport import Connection
    from bpfd.v1 import (
        events_pb2_grpc,
        files_pb2_grpc,
        links_pb2_grpc,
        maps_pb2_grpc,
        objects_pb2_grpc,
        programs_pb2_grpc,
        sessions_pb2_grpc,
        target_pb2_grpc,
    )

Request = TypeVar("Request")
Response = TypeVar("Response")


class Rpc:
    """The stubs of one connection, each imported when it is first used."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.connection = connection
        self.channel = connection.channel

    @cached_property
    def target(self) -> target_pb2_grpc.TargetStub:
        from bpfd.v1 import target_pb2_grpc

        return target_pb2_grpc.TargetStub(self.channel)

    @cached_property
    def objects(self) -> objects_pb2_grpc.ObjectsStub:
        from bpfd.v1 import objects_pb2_grpc

        return objects_pb2_grpc.ObjectsStub(self.channel)

    @cached_property
    def programs(self) -> programs_pb2_grpc.ProgramsStub:
        from bpfd.v1 import programs_pb2_grpc

        return programs_pb2_grpc.ProgramsStub(self.channel)

    @cached_property
    def links(self) -> links_pb2_grpc.LinksStub:
        from bpfd.v1 import links_pb2_grpc

        return links_pb2_grpc.LinksStub(self.channel)

    @cached_property
    def maps(self) -> maps_pb2_grpc.MapsStub:
        from bpfd.v1 import maps_pb2_grpc

        return maps_pb2_grpc.MapsStub(self.channel)

    @cached_property
    def events(self) -> events_pb2_grpc.EventsStub:
        from bpfd.v1 import events_pb2_grpc

        return events_pb2_grpc.EventsStub(self.channel)

    @cached_property
    def files(self) -> files_pb2_grpc.FilesStub:
        from bpfd.v1 import files_pb2_grpc

        return files_pb2_grpc.FilesStub(self.channel)

    @cached_property
    def sessions(self) -> sessions_pb2_grpc.SessionsStub:
        from bpfd.v1 import sessions_pb2_grpc

        return sessions_pb2_grpc.SessionsStub(self.channel)

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        name: str,
        timeout: float | None = None,
    ) -> Response:
        """The answer to `request`; `name` is the call's for texts, `timeout` in seconds.

        An exception in between, as of Ctrl-C, cancels the call on the target.
        """
        future = method.future(request, timeout=timeout)
        try:
            return future.result()
        except grpc.RpcError as error:
            raise self.translated(error, name) from None
        except BaseException:
            future.cancel()
            raise

    def stream(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        name: str,
        timeout: float | None = None,
    ) -> Stream[Response]:
        """The answers to `request`, one by one."""
        return Stream(self, method(request, timeout=timeout), name)

    def translated(self, error: grpc.RpcError, name: str) -> BpfctlError:
        """`error` as one of our kinds; nothing leads from it back to itself any more.

        The error is the call, whose frame holds the call. Such a circle would be freed by
        the garbage collector, maybe at the end of Python: its threads are stopped by then,
        and a lock of the call that one of them held is waited for without an end.
        """
        error.with_traceback(None)
        return self.error(error, name)

    def error(self, error: grpc.RpcError, name: str) -> BpfctlError:
        """`error` as one of our kinds; a broken connection is explained by its transport."""
        found = from_rpc(error, self.name, name)
        if isinstance(found, TargetUnreachable) and isinstance(error, grpc.Call):
            return self.connection.explain(error.details() or "")
        return found


class Stream(Generic[Response]):
    """Answers of the target as they come; leaving the context ends the work there."""

    def __init__(self, rpc: Rpc, call: grpc._CallIterator[Response], name: str) -> None:
        self._rpc = rpc
        self._call = call
        self._name = name
        self._cancelled = False

    def __iter__(self) -> Iterator[Response]:
        return self

    def __next__(self) -> Response:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            if self._cancelled:
                raise StopIteration from None
            raise self._rpc.translated(error, self._name) from None

    def close(self) -> None:
        """End the stream; a reader in another thread sees its end."""
        self._cancelled = True
        self._call.cancel()

    def __enter__(self) -> Stream[Response]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
