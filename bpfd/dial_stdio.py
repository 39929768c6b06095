# SPDX-License-Identifier: Apache-2.0
"""`bpfd dial-stdio`: standard input and output become a connection to the daemon.

The far end of the client's ssh transport. It imports little, so that it starts fast.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

EX_UNAVAILABLE = 69
_CHUNK = 1 << 18


def dial(path: str) -> int:
    """Copies until either side ends; returns the exit code."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        print(_advice(path, error), file=sys.stderr)
        return EX_UNAVAILABLE
    copy(0, 1, connection)
    return 0


def _advice(path: str, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if isinstance(error, PermissionError):
        hint = "log in as root or as a member of the group bpfd"
    else:
        hint = "is the daemon running? start it with: bpfd serve"
    return f"bpfd dial-stdio: cannot connect to {path}: {reason}; {hint}"


def copy(stdin: int, stdout: int, connection: socket.socket) -> None:
    """Copies both ways until the daemon closes, or nobody reads `stdout` any more.

    When `stdin` ends, only that half of the connection is closed: answers that are on
    their way still arrive, and the daemon then closes its half.
    """
    threading.Thread(target=_upward, args=(stdin, connection), daemon=True).start()
    try:
        while data := connection.recv(_CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(stdout, view) :]
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        connection.close()


def _upward(stdin: int, connection: socket.socket) -> None:
    try:
        while data := os.read(stdin, _CHUNK):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        # The daemon has closed: the other direction sees that too and ends the copy.
        pass
