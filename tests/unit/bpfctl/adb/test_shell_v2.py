# SPDX-License-Identifier: Apache-2.0
"""Packets of the device's shell."""

from __future__ import annotations

import struct

import pytest
from bpfctl.adb.shell_v2 import ShellCommand
from hypothesis import given
from hypothesis import strategies as st


def packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


class Pieces:
    """A stream that gives its bytes in pieces of a size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[start : start + size] for start in range(0, len(data), size)]
        self.sent = b""
        self.closed = False

    def recv(self, size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def settimeout(self, seconds: float | None) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def read(command: ShellCommand, size: int = 1 << 20) -> bytes:
    output = b""
    while piece := command.recv(size):
        output += piece
    return output


@given(st.integers(1, 40), st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 255))
def test_outputs_are_kept_apart(size: int, out: bytes, err: bytes, status: int) -> None:
    data = (
        packet(1, out[:20]) + packet(2, err) + packet(1, out[20:]) + packet(3, b"%c" % status)
    )
    command = ShellCommand(Pieces(data, size))
    assert read(command) == out
    assert command.recv_stderr(100) == err
    assert command.recv_exit_status() == status
    assert command.ended


def test_standard_input() -> None:
    stream = Pieces(b"", 1)
    command = ShellCommand(stream)
    command.sendall(b"x" * 100_000)
    command.shutdown_write()
    assert stream.sent == packet(0, b"x" * 65536) + packet(0, b"x" * 34464) + packet(4, b"")
    command.close()
    assert stream.closed


def test_device_is_gone_in_the_middle() -> None:
    command = ShellCommand(Pieces(packet(1, b"half") + packet(1, b"more")[:7], 100))
    assert read(command, 2) == b"half"
    assert command.recv_exit_status() == -1
    assert not command.ended


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400", packet(9, b""), struct.pack("<BI", 1, 1 << 30)]
)
def test_what_is_no_shell(data: bytes) -> None:
    with pytest.raises(ConnectionError, match="does not keep to its protocol"):
        read(ShellCommand(Pieces(data, 100)))


def test_standard_error_is_bounded() -> None:
    data = packet(2, b"e" * 60_000) * 3 + packet(3, b"\1")
    command = ShellCommand(Pieces(data, 4096))
    assert read(command) == b""
    assert len(command.recv_stderr(1 << 20)) == 64 * 1024
