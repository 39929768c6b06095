# SPDX-License-Identifier: Apache-2.0
"""An adbd in this process, by protocol.txt: it may ask for a key, and has odd services."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

_HEADER = struct.Struct("<6I")

Packet = tuple[int, int, int, bytes]
"""Its kind, two arguments and data."""


def word(name: bytes) -> int:
    """The kind of packets of that name."""
    return int.from_bytes(name, "little")


def trusted_key(path: Path) -> rsa.RSAPublicKey:
    """The key in an adbkey.pub, as a device reads it (android_pubkey.c)."""
    data = base64.b64decode(path.read_bytes().split()[0])
    modulus = int.from_bytes(data[8:264], "little")
    return rsa.RSAPublicNumbers(int.from_bytes(data[520:524], "little"), modulus).public_key()


class FakeAdbd:
    """Listens on a loopback port; `key`: who wants in must have it."""

    def __init__(
        self,
        key: rsa.RSAPublicKey | None = None,
        *,
        asks: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.key = key
        self.asks = asks
        """Whether it asks its user about a key that it does not know, and waits for ever."""
        self.offered = b""
        self.first_answer = b""
        """Sent in place of anything else, when set."""
        self._listener = socket.create_server((host, 0))
        self.serial = f"{host}:{self._listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nobody is let in any more, and every connection ends."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.vanish()

    def vanish(self) -> None:
        """Ends every connection."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error):
            hello = receive(connection)
            if self.first_answer:
                connection.sendall(self.first_answer)
            elif self.key is None or self._lets_in(connection):
                self.serve(connection, hello)

    def _lets_in(self, connection: socket.socket) -> bool:
        assert self.key is not None
        while True:
            token = os.urandom(20)
            send(connection, b"AUTH", 1, 0, token)
            _, kind, _, data = receive(connection)
            if kind == 3:
                self.offered = data
                if self.asks:
                    threading.Event().wait(30)
                return False
            with contextlib.suppress(InvalidSignature):
                digest = utils.Prehashed(hashes.SHA1())
                self.key.verify(data, token, padding.PKCS1v15(), digest)
                return True

    def serve(self, connection: socket.socket, hello: Packet) -> None:
        """Services: "exec:sum" says the SHA-256 of each packet, "exec:huge" breaks rules."""
        send(connection, b"CNXN", 0x01000001, 1 << 20, b"device::\0")
        services: dict[int, bytes] = {}
        while True:
            kind, remote, _, data = receive(connection)
            if kind == word(b"OPEN"):
                service = data.rstrip(b"\0")
                if service not in (b"exec:sum", b"exec:huge"):
                    send(connection, b"CLSE", 0, remote)
                    continue
                services[remote] = service
                send(connection, b"OKAY", remote + 1000, remote)
                if service == b"exec:huge":
                    header = (word(b"WRTE"), remote + 1000, remote, 1 << 31, 0, 0)
                    connection.sendall(_HEADER.pack(*header))
            elif kind == word(b"WRTE"):
                send(connection, b"OKAY", remote + 1000, remote)
                answer = hashlib.sha256(data).digest()
                send(connection, b"WRTE", remote + 1000, remote, answer)


def send(
    connection: socket.socket, kind: bytes, first: int, second: int, data: bytes = b""
) -> None:
    """Write a packet."""
    code = word(kind)
    header = (code, first, second, len(data), sum(data), code ^ 0xFFFFFFFF)
    connection.sendall(_HEADER.pack(*header) + data)


def receive(connection: socket.socket) -> Packet:
    """Read a packet; struct.error at the end."""
    header = connection.recv(_HEADER.size, socket.MSG_WAITALL)
    kind, first, second, size, total, magic = _HEADER.unpack(header)
    data = connection.recv(size, socket.MSG_WAITALL) if size else b""
    # Both sides of version 0x01000001 leave the sum out.
    assert total in (0, sum(data) & 0xFFFFFFFF)
    assert kind ^ magic == 0xFFFFFFFF
    return kind, first, second, data
