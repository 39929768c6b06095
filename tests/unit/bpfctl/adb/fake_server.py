# SPDX-License-Identifier: Apache-2.0
"""An adb server in this process that says what a test wants, on a unix socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

Answer = Callable[["Request"], None]


class Request:
    """A connection that has asked for something."""

    def __init__(self, connection: socket.socket, text: str) -> None:
        self.connection = connection
        self.text = text

    def okay(self, text: str | None = None) -> None:
        self.connection.sendall(b"OKAY")
        if text is not None:
            data = text.encode()
            self.connection.sendall(b"%04x%s" % (len(data), data))

    def fail(self, text: str) -> None:
        data = text.encode()
        self.connection.sendall(b"FAIL%04x%s" % (len(data), data))


class FakeServer:
    """Answers host:version and host:devices; `answers` has the rest by the request."""

    def __init__(self, path: Path) -> None:
        self.devices: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            while digits := connection.recv(4, socket.MSG_WAITALL):
                text = connection.recv(int(digits, 16), socket.MSG_WAITALL).decode()
                self.requests.append(text)
                self._answer(Request(connection, text))
                if not text.startswith("host:transport:"):
                    return

    def _answer(self, request: Request) -> None:
        if request.text in self.answers:
            self.answers[request.text](request)
        elif request.text == "host:version":
            request.okay("0029")
        elif request.text == "host:devices":
            lines = (f"{serial}\t{state}\n" for serial, state in self.devices.items())
            request.okay("".join(lines))
        elif request.text.startswith("host:transport:"):
            serial = request.text.removeprefix("host:transport:")
            if self.devices.get(serial) == "device":
                request.okay()
            else:
                request.fail(f"device '{serial}' not found")
        else:
            request.fail("unknown host service")
