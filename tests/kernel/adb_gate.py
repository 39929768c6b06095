# SPDX-License-Identifier: Apache-2.0
"""A device whose adbd asks for keys or is old: real adbd is behind it, only that differs.

Debian's adbd lets everybody in and is of Android 14.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading

from tests.unit.bpfctl.adb.fake_adbd import FakeAdbd, Packet, receive, send, word

_OLD_BYTES = 4096
"""MAX_PAYLOAD of adb.h before Android 6; a larger packet ended the connection."""


class Gate(FakeAdbd):
    """Passes packets on to the adbd at `address`, once it has let somebody in."""

    def __init__(self, host: str, address: tuple[str, int]) -> None:
        super().__init__(host=host)
        self.address = address
        self.old = False
        """Whether the device is of Android 5: no version 2 of the shell, small packets."""

    def sees(self, data: bytes) -> bool:
        """Data of a packet to the device; False: the connection breaks."""
        return True

    def serve(self, connection: socket.socket, hello: Packet) -> None:
        with socket.create_connection(self.address, 10) as behind:
            behind.settimeout(None)
            _pass(behind, hello)
            back = threading.Thread(target=self._back, args=(behind, connection), daemon=True)
            back.start()
            with contextlib.suppress(OSError, struct.error):
                while True:
                    packet = receive(connection)
                    if not self.sees(packet[3]) or (self.old and len(packet[3]) > _OLD_BYTES):
                        break
                    opens = packet[0] == word(b"OPEN")
                    if self.old and opens and packet[3].startswith(b"shell,v2"):
                        send(connection, b"CLSE", 0, packet[1])
                    else:
                        _pass(behind, packet)
            behind.shutdown(socket.SHUT_RDWR)
            back.join(5)

    def _back(self, behind: socket.socket, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error):
            while True:
                kind, first, second, data = receive(behind)
                if self.old and kind == word(b"CNXN"):
                    data = re.sub(rb"features=[^;\0]*", b"features=cmd", data)
                    second = _OLD_BYTES
                _pass(connection, (kind, first, second, data))
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _pass(connection: socket.socket, packet: Packet) -> None:
    kind, first, second, data = packet
    send(connection, kind.to_bytes(4, "little"), first, second, data)
