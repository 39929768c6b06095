# SPDX-License-Identifier: Apache-2.0
"""The interceptor around real servers on sockets in a folder of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from bpfd import errors, security
from bpfd.audit import Audit
from bpfd.interceptor import Activity, Interceptor
from bpfd.v1 import (
    common_pb2,
    deployments_pb2,
    deployments_pb2_grpc,
    errors_pb2,
    maps_pb2,
    maps_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
)

# Without this, the last gRPC object to go joins gRPC's poller thread, which waits for
# calls of event loops that are closed: the test run would never end.
grpc.aio.init_grpc_aio()


class Maps(maps_pb2_grpc.MapsServicer):
    async def Get(self, request: maps_pb2.GetMapRequest, context: Any) -> Any:
        raise errors.NotFound("map", "flows", near=["flow"])

    async def Update(self, request: maps_pb2.UpdateRequest, context: Any) -> Any:
        role = await asyncio.to_thread(lambda: security.caller().role)
        if request.keys == b"fail":
            raise ZeroDivisionError("oops")
        return maps_pb2.UpdateResponse(updated=int(role))

    async def Dump(
        self, request: maps_pb2.DumpRequest, context: Any
    ) -> AsyncIterator[maps_pb2.DumpChunk]:
        yield maps_pb2.DumpChunk(keys=str(security.caller().role).encode())
        raise errors.KernelError("BPF_MAP_LOOKUP_BATCH", 28)


class Sessions(sessions_pb2_grpc.SessionsServicer):
    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def Open(
        self, request: sessions_pb2.OpenSessionRequest, context: Any
    ) -> AsyncIterator[sessions_pb2.SessionEvent]:
        try:
            yield sessions_pb2.SessionEvent()
            await asyncio.Event().wait()
        finally:
            self.ended.set()


class Server:
    def __init__(self, path: Path, role: security.Role) -> None:
        self.log = path / "audit.jsonl"
        self.activity = Activity()
        self.sessions = Sessions()  # type: ignore[abstract]
        interceptor = Interceptor(role, Audit(str(self.log)), self.activity)
        self.server = grpc.aio.server(interceptors=[interceptor])
        maps_pb2_grpc.add_MapsServicer_to_server(
            Maps(),  # type: ignore[abstract]
            self.server,
        )
        sessions_pb2_grpc.add_SessionsServicer_to_server(self.sessions, self.server)
        deployments_pb2_grpc.add_DeploymentsServicer_to_server(
            deployments_pb2_grpc.DeploymentsServicer(),  # type: ignore[abstract]
            self.server,
        )
        self.address = f"unix:{path / 'socket'}"
        self.server.add_insecure_port(self.address)

    def lines(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@asynccontextmanager
async def serving(
    path: Path, role: security.Role = security.Role.OPERATOR
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    server = Server(path, role)
    await server.server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield server, channel
    await server.server.stop(0)


def _detail(error: grpc.aio.AioRpcError) -> errors_pb2.ErrorDetail:
    metadata = dict(error.trailing_metadata())
    return errors_pb2.ErrorDetail.FromString(metadata[errors.DETAIL_KEY])


async def test_errors_become_status_and_detail(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await maps_pb2_grpc.MapsStub(channel).Get(maps_pb2.GetMapRequest())
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "there is no map 'flows'; did you mean flow?"
        assert _detail(caught.value).not_found.near == ["flow"]
        assert server.lines() == []


async def test_errors_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    async with serving(tmp_path, security.Role.VIEWER) as (_, channel):
        call = maps_pb2_grpc.MapsStub(channel).Dump(maps_pb2.DumpRequest())
        assert await call.read() == maps_pb2.DumpChunk(keys=b"viewer")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert _detail(caught.value).kernel_error.errno == 28


async def test_a_change_leaves_a_line_and_threads_know_the_caller(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, channel):
        request = maps_pb2.UpdateRequest(map=common_pb2.MapRef(id=7), keys=b"1234")
        answer = await maps_pb2_grpc.MapsStub(channel).Update(request)
        assert answer.updated == security.Role.OPERATOR
        (line,) = server.lines()
        assert (line["rpc"], line["outcome"]) == ("Maps.Update", "ok")
        assert line["request"] == {"map": {"id": 7}, "keys": "4 bytes"}
        assert server.activity.calls == 0


async def test_a_role_that_is_too_low_is_refused_and_written_down(tmp_path: Path) -> None:
    async with serving(tmp_path, security.Role.VIEWER) as (server, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await maps_pb2_grpc.MapsStub(channel).Update(maps_pb2.UpdateRequest())
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        missing = _detail(caught.value).permission_missing
        assert (missing.needs, missing.has) == ("role tracer", "role viewer")
        assert [line["outcome"] for line in server.lines()] == ["PERMISSION_DENIED"]


async def test_an_unexpected_exception_is_logged_and_internal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as (server, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await maps_pb2_grpc.MapsStub(channel).Update(maps_pb2.UpdateRequest(keys=b"fail"))
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert "ZeroDivisionError: oops" in (caught.value.details() or "")
        assert "Traceback" in caplog.text
        assert server.lines()[0]["outcome"] == "INTERNAL"


async def test_calls_that_nobody_wrote_are_unimplemented(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await maps_pb2_grpc.MapsStub(channel).List(maps_pb2.ListMapsRequest())
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert _detail(caught.value).not_supported.feature == "the call Maps.List"
        stream = deployments_pb2_grpc.DeploymentsStub(channel).Watch(
            deployments_pb2.WatchDeploymentsRequest()
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_cancelled_stream_ends_its_handler_and_its_count(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, channel):
        changed = asyncio.Event()
        server.activity.watchers.append(changed.set)
        call = sessions_pb2_grpc.SessionsStub(channel).Open(sessions_pb2.OpenSessionRequest())
        await call.read()
        assert server.activity.calls == 1
        assert [line["outcome"] for line in server.lines()] == ["started"]
        call.cancel()
        await server.sessions.ended.wait()
        while server.activity.calls:
            changed.clear()
            await changed.wait()
        assert [line["outcome"] for line in server.lines()] == ["started", "cancelled"]
