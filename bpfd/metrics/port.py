# SPDX-License-Identifier: Apache-2.0
"""The page on a TCP port of this machine: just enough HTTP for a scraper."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bpfd.daemon import EX_CANTCREAT, StartError
from bpfd.errors import BpfdError

if TYPE_CHECKING:
    from bpfd.metrics.exporter import Exporter

MAX_REQUEST_BYTES = 8192
MAX_CONNECTIONS = 16
SECONDS = 10.0
"""For a request to come, and for a reader to take more of the page."""

_log = logging.getLogger("bpfd.metrics")


class Port:
    """A server of the page; `close` it."""

    def __init__(self, server: asyncio.Server, name: str) -> None:
        self._server = server
        self.name = name
        """ADDRESS:PORT."""

    async def close(self) -> None:
        """No more connections; those that are open end with their time."""
        self._server.close()


async def serve(exporter: Exporter, host: str, port: int) -> Port:
    """Listens. Raises StartError."""
    from bpfd.metrics import page

    try:
        page.load()
        handler = _Handler(exporter)
        server = await asyncio.start_server(
            handler.connected, host, port, limit=MAX_REQUEST_BYTES, backlog=MAX_CONNECTIONS
        )
    except BpfdError as error:
        raise StartError(EX_CANTCREAT, f"--metrics: {error}") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise StartError(
            EX_CANTCREAT, f"--metrics: cannot listen on {host}:{port}: {why}"
        ) from None
    number = server.sockets[0].getsockname()[1]
    return Port(server, f"[{host}]:{number}" if ":" in host else f"{host}:{number}")


class _Handler:
    """Answers requests, one for each connection."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._open = 0

    async def connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(SECONDS):
                line = await _request(reader)
            answer = await self._answer(line)
            async with asyncio.timeout(SECONDS):
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # it went away, or is none that speaks HTTP
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        words = line.split()
        if self._open > MAX_CONNECTIONS:
            return _response("503 Service Unavailable", b"too many at once\n")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", b"this is no HTTP request\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"GET alone\n")
        if words[1].partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found", b"there is /metrics alone\n")
        from bpfd.metrics import page

        try:
            made = await self._exporter.page()
        except Exception as error:
            _log.error("the page of metrics failed", exc_info=error)
            return _response("500 Internal Server Error", b"see the daemon's log\n")
        return _response("200 OK", made, page.CONTENT_TYPE, body=words[0] == b"GET")


async def _request(reader: asyncio.StreamReader) -> bytes:
    """The first line; headers are read and say nothing that matters here."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return b""
    return head.partition(b"\r\n")[0]


def _response(
    status: str, data: bytes, content: str = "text/plain; charset=utf-8", *, body: bool = True
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {len(data)}\r\n"
        "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + (data if body else b"")
