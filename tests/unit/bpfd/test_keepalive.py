# SPDX-License-Identifier: Apache-2.0
"""Calls without data stay: clients that look after the daemon are not sent away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from bpfctl.transport import KEEPALIVE_SECONDS, channel_options

from bpfd.endpoints import OPTIONS

FASTER = 30
"""The client's interval, and the one that the daemon allows, are divided by this: to one
second, which is the shortest that gRPC takes."""

PINGS = 5
"""A server that finds them too many ends the connection at the fourth."""


class Quiet(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            time.sleep(PINGS * KEEPALIVE_SECONDS / FASTER)
            yield b"late"

        return grpc.unary_stream_rpc_method_handler(answer)


def faster(options: Any) -> list[tuple[str, Any]]:
    return [(key, value // FASTER if key.endswith("_ms") else value) for key, value in options]


def test_quiet_stream_outlives_many_keepalives(tmp_path: Path) -> None:
    # The server's own pings would put off the client's.
    allowing = faster(option for option in OPTIONS if "keepalive_time" not in option[0])
    server = grpc.server(futures.ThreadPoolExecutor(1), options=allowing)
    server.add_generic_rpc_handlers((Quiet(),))
    address = f"unix:{tmp_path}/socket"
    server.add_insecure_port(address)
    server.start()
    options = faster(channel_options(keepalive=True))
    try:
        with grpc.insecure_channel(address, options=options) as channel:
            stream: grpc.UnaryStreamMultiCallable[bytes, bytes]
            stream = channel.unary_stream("/quiet/stream")
            try:
                assert list(stream(b"", timeout=30)) == [b"late"]
            except grpc.RpcError as error:
                pytest.fail(str(error))
    finally:
        server.stop(0)
