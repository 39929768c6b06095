# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that a test can cut: what a bad network does to a connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Relay:
    """Forwards connections to a port of loopback."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        """Bytes from clients that were passed on."""
        self.cut_at: list[int] = []
        """Amounts of `sent` at which every connection breaks, each once."""
        self.held = threading.Event()
        """Set: nothing more is passed on, and nobody is told."""
        self._open: set[socket.socket] = set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open |= {near, far}
            for work in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pass, args=work, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if self.held.is_set():
                    continue
                sink.sendall(data)
                if outward:
                    self.sent += len(data)
                    if self.cut_at and self.sent >= self.cut_at[0]:
                        self.cut_at.pop(0)
                        self.cut()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Breaks every connection."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()
        for end in self._open:
            end.close()


@contextlib.contextmanager
def relay(port: int) -> Iterator[Relay]:
    """A relay to `port` as long as the block."""
    found = Relay(port)
    try:
        yield found
    finally:
        found.close()
