# SPDX-License-Identifier: Apache-2.0
"""The workstation's end of the cable in a board's second network card."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import LabError

MAX_FRAME = 65_536

_BUFFER = 1 << 20


class Wire:
    """Raw Ethernet frames to and from a board's eth1; a context manager that closes it.

    What the board sends while no wire is open is lost, as with a cable that is not plugged in.
    """

    def __init__(self, own: Path, board: Path) -> None:
        """`own` and `board`: unix datagram sockets of this end and of the board's."""
        self._own = own
        self._board = str(board)
        if in_use(own):
            raise LabError(
                f"the wire {own} is in use",
                "another program holds it, or another board is joined there",
            )
        own.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._socket.bind(str(own))

    def fileno(self) -> int:
        """For select and poll."""
        return self._socket.fileno()

    def send(self, frame: bytes, timeout: float = 5.0) -> None:
        """One frame to the board; waits at most `timeout` seconds when it takes no more.

        Raises TimeoutError, and LabError when the board is gone.
        """
        self._socket.settimeout(timeout)
        try:
            self._socket.sendto(frame, self._board)
        except (ConnectionRefusedError, FileNotFoundError):
            raise LabError("the board at the other end of the wire is gone") from None

    def receive(self, timeout: float = 1.0) -> bytes | None:
        """The next frame of the board; None when none comes within `timeout` seconds."""
        if not select.select([self._socket], [], [], max(timeout, 0))[0]:
            return None
        return self._socket.recv(MAX_FRAME)

    def frames(self, seconds: float) -> Iterator[bytes]:
        """All frames that come within a time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            frame = self.receive(left)
            if frame is not None:
                yield frame

    def close(self) -> None:
        """Unplug it."""
        self._socket.close()
        self._own.unlink(missing_ok=True)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_use(path: Path) -> bool:
    """Whether someone has bound this unix datagram socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
