# SPDX-License-Identifier: Apache-2.0
"""What is carried between a socket here and a command or a socket there, and how it ends."""

from __future__ import annotations

import socket
import threading

from bpfctl.transport.bridge import Bridge


class SocketThere:
    """As a channel to a unix socket: it has no exit status, and is closed when both sides
    have said that they are done."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def recv(self, nbytes: int) -> bytes:
        return b""

    def sendall(self, s: bytes) -> None: ...

    def recv_stderr(self, nbytes: int) -> bytes:
        self.done.wait()
        return b""

    def recv_exit_status(self) -> int:
        self.done.wait()
        return -1

    def shutdown_write(self) -> None:
        self.done.set()

    def close(self) -> None:
        self.done.set()


def test_end_of_the_far_side_is_told_at_once() -> None:
    bridge = Bridge(SocketThere)
    try:
        with socket.socket(socket.AF_UNIX) as near:
            near.settimeout(10)
            near.connect(bridge.path)
            assert near.recv(1) == b""
        assert bridge.ended.wait(10)
        assert bridge.exit_status == -1
    finally:
        bridge.close()
