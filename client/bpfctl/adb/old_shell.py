# SPDX-License-Identifier: Apache-2.0
"""Commands on an adbd of before Android 7: outputs in one stream, no exit code.

Such an adbd runs on embedded boards to this day. Its service "exec:" carries bytes as they
are, and standard input has no end there: what a script is to read comes in a file.
"""

from __future__ import annotations

import itertools
import secrets
import struct
from collections.abc import Iterable, Iterator

from bpfctl.adb.device import Device, Stream
from bpfctl.bootstrap.shell import Completed

SERVICE = "exec:"
_FOLDERS = "/data/local/tmp /tmp /var/tmp"
_PIECE = 64 * 1024
"""Largest data of a packet of the service "sync:" (SYNC.TXT)."""
_MAX_OUTPUT = 4 << 20


class BareCommand:
    """A command as a `bpfctl.transport.bridge.RemoteCommand`; nobody knows how it ends."""

    def __init__(self, stream: Stream) -> None:
        self.recv = stream.recv
        self.sendall = stream.sendall
        self.close = stream.close
        self.shutdown_write = stream.close

    def recv_stderr(self, nbytes: int) -> bytes:
        return b""

    def recv_exit_status(self) -> int:
        return 0


def run(device: Device, command: str, stdin: Iterator[bytes], timeout: float) -> Completed:
    """As `bpfctl.bootstrap.shell.Shell.run`, for a command of the shell's own user.

    Raises AdbError, OSError.
    """
    mark = secrets.token_hex(8)
    start = f"{_folder(device, timeout)}/.bpfctl-{mark}"
    # Before Android 6 what is asked for has to fit in 4096 bytes.
    _put(device, f"{start}.sh", iter([command.encode()]), timeout)
    source = "/dev/null"
    first = next(stdin, b"")
    if first:
        source = f"{start}.in"
        _put(device, source, itertools.chain([first], stdin), timeout)
    output = read_all(
        device,
        f"sh {start}.sh <{source} 2>{start}.err; printf '\\n{mark} %s\\n' $?; "
        f"cat {start}.err; rm -f {start}.*",
        timeout,
    )
    stdout, found, rest = output.partition(f"\n{mark} ".encode())
    if not found:
        raise ConnectionResetError("the shell ended in the middle")
    status, _, stderr = rest.partition(b"\n")
    return Completed(int(status), stdout, stderr)


def read_all(device: Device, command: str, timeout: float) -> bytes:
    """What a command says, both outputs."""
    output = bytearray()
    stream = device.open(SERVICE + command, timeout)
    try:
        stream.settimeout(timeout)
        while len(output) < 2 * _MAX_OUTPUT and (piece := stream.recv(_PIECE)):
            output += piece
    finally:
        stream.close()
    return bytes(output)


def _folder(device: Device, timeout: float) -> str:
    ask = f"for d in {_FOLDERS}; do [ -d $d ] && [ -w $d ] && echo $d && break; done"
    return read_all(device, ask, timeout).decode(errors="replace").strip() or "."


def _put(device: Device, path: str, blocks: Iterable[bytes], timeout: float) -> None:
    """Write a file by the service "sync:", that every adbd has."""
    stream = device.open("sync:", timeout)
    try:
        stream.settimeout(timeout)
        # 0o100600: a regular file for its owner alone.
        name = f"{path},{0o100600}".encode()
        stream.sendall(struct.pack("<4sI", b"SEND", len(name)) + name)
        for block in blocks:
            for start in range(0, len(block), _PIECE):
                piece = block[start : start + _PIECE]
                stream.sendall(struct.pack("<4sI", b"DATA", len(piece)) + piece)
        stream.sendall(struct.pack("<4sI", b"DONE", 0))
        answer = stream.recv(8)
        if answer[:4] != b"OKAY":
            words = stream.recv(_PIECE) if answer[:4] == b"FAIL" else b""
            reason = words.decode(errors="replace") or "it broke"
            raise OSError(f"writing {path} failed: {reason}")
    finally:
        stream.close()
