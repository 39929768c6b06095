# SPDX-License-Identifier: Apache-2.0
"""A private unix socket, each connection of which becomes a command on the far side.

gRPC can dial a socket but cannot be handed a pair of pipes, so bytes are carried in
between: one thread for each direction of a connection.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from typing import Protocol

_PIECE = 64 * 1024
_MAX_WORDS = 4096


class RemoteCommand(Protocol):
    """The parts of `paramiko.Channel` that are used here."""

    def recv(self, nbytes: int) -> bytes: ...
    def sendall(self, s: bytes) -> None: ...
    def recv_stderr(self, nbytes: int) -> bytes: ...
    def recv_exit_status(self) -> int: ...
    def shutdown_write(self) -> None: ...
    def close(self) -> None: ...


class Bridge:
    """Listens on `path` until `close`; `start` runs the command for a new connection."""

    def __init__(self, start: Callable[[], RemoteCommand]) -> None:
        self._start = start
        self._folder = tempfile.mkdtemp(prefix="bpfctl-")
        self.path = os.path.join(self._folder, "socket")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(4)
        self._lock = threading.Lock()
        self._open: set[tuple[socket.socket, RemoteCommand]] = set()
        self._closed = False
        self.words = ""
        """What the last command that failed wrote to its standard error."""
        self.exit_status: int | None = None
        """How the last command that ended did so; None: none has."""
        self.ended = threading.Event()
        """Set when a command has ended by itself."""
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = self._start()
            except Exception as error:
                self.words = str(error)
                self.ended.set()
                near.close()
                continue
            with self._lock:
                if self._closed:
                    near.close()
                    far.close()
                    return
                self._open.add((near, far))
            for work in (self._outward, self._inward):
                threading.Thread(target=work, args=(near, far), daemon=True).start()

    def _outward(self, near: socket.socket, far: RemoteCommand) -> None:
        with contextlib.suppress(OSError, EOFError):
            while piece := near.recv(_PIECE):
                far.sendall(piece)
            far.shutdown_write()

    def _inward(self, near: socket.socket, far: RemoteCommand) -> None:
        with contextlib.suppress(OSError, EOFError):
            while piece := far.recv(_PIECE):
                near.sendall(piece)
        with contextlib.suppress(OSError, EOFError):
            # A channel to a socket ends only when both sides have said so.
            far.shutdown_write()
        self._note_end(far)
        with self._lock:
            self._open.discard((near, far))
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)
        near.close()
        far.close()

    def _note_end(self, far: RemoteCommand) -> None:
        if self._closed:
            return
        words = b""
        with contextlib.suppress(OSError, EOFError):
            while len(words) < _MAX_WORDS and (piece := far.recv_stderr(_MAX_WORDS)):
                words += piece
            self.exit_status = far.recv_exit_status()
        self.words = words.decode(errors="replace").strip()
        self.ended.set()

    def close(self) -> None:
        """End every connection and remove the socket."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            pairs = list(self._open)
        with contextlib.suppress(OSError):
            # close() alone does not wake a thread that waits in accept(2).
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for near, far in pairs:
            far.close()
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
        self._accepting.join(2)
        shutil.rmtree(self._folder, ignore_errors=True)
