# SPDX-License-Identifier: Apache-2.0
"""A command of the device's shell with its outputs apart and its exit code.

Source: shell_protocol.h of the Android platform's packages/modules/adb. Each packet is a
byte that says what it is, four bytes of length (little-endian), and data.
"""

from __future__ import annotations

import struct

from bpfctl.adb.device import Stream

_HEADER = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_PIECE = 64 * 1024
_MAX_WORDS = 64 * 1024
_MAX_PACKET = 1 << 20

SERVICE = "shell,v2,raw:"


class ShellCommand:
    """A running command; `recv` and `recv_stderr` may be called by one thread only.

    It is a `bpfctl.transport.bridge.RemoteCommand`.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._received = bytearray()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._status = -1
        self._ended = False
        self.settimeout = stream.settimeout
        self.close = stream.close

    @property
    def ended(self) -> bool:
        """Whether the command's exit was seen."""
        return self._status >= 0

    def recv(self, nbytes: int) -> bytes:
        """Standard output; nothing at the end. What cannot be a shell raises OSError."""
        while not self._stdout and not self._ended:
            self._step()
        return _take(self._stdout, nbytes)

    def recv_stderr(self, nbytes: int) -> bytes:
        """Standard error as far as it has come with standard output, at most 64 KiB."""
        return _take(self._stderr, nbytes)

    def recv_exit_status(self) -> int:
        """After the end of `recv`: 0 to 255, or -1 when the device is gone."""
        return self._status

    def sendall(self, s: bytes) -> None:
        """Standard input."""
        for start in range(0, len(s), _PIECE):
            piece = s[start : start + _PIECE]
            self._stream.sendall(_HEADER.pack(_STDIN, len(piece)) + piece)

    def shutdown_write(self) -> None:
        """The end of standard input."""
        self._stream.sendall(_HEADER.pack(_CLOSE_STDIN, 0))

    def _step(self) -> None:
        piece = self._stream.recv(_PIECE)
        if not piece:
            self._ended = True
            return
        self._received += piece
        at = 0
        while len(self._received) - at >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._received, at)
            if size > _MAX_PACKET or kind > _CLOSE_STDIN:
                raise ConnectionError("the device's shell does not keep to its protocol")
            start = at + _HEADER.size
            if len(self._received) - start < size:
                break
            self._note(kind, self._received[start : start + size])
            at = start + size
        del self._received[:at]

    def _note(self, kind: int, data: bytearray) -> None:
        if kind == _STDOUT:
            self._stdout += data
        elif kind == _STDERR:
            self._stderr += data[: _MAX_WORDS - len(self._stderr)]
        elif kind == _EXIT and data:
            self._status = data[0]
            self._ended = True


def _take(buffer: bytearray, size: int) -> bytes:
    piece = bytes(buffer[:size])
    del buffer[:size]
    return piece
