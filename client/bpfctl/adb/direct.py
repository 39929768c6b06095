# SPDX-License-Identifier: Apache-2.0
"""Devices without an adb server: adb-shell connects and logs in, its packets carry streams.

adb-shell's own calls run one service after the other; gRPC needs several at once, each in
both directions, so the packets of a connection are dealt out to streams here (protocol.txt of
the Android platform's packages/modules/adb).
"""

from __future__ import annotations

import contextlib
import struct
import threading
from typing import Any

from adb_shell import constants, exceptions
from adb_shell.adb_device import AdbDevice
from adb_shell.adb_message import AdbMessage
from adb_shell.transport.base_transport import BaseTransport

from bpfctl.adb.carrier import TcpCarrier, find_usb
from bpfctl.adb.device import AdbError, ServiceRefused, Stream
from bpfctl.adb.keys import key_path, signers
from bpfctl.adb.served import is_address

_LOOK_SECONDS = 1.0
"""How often the reader looks whether it is to end."""
_PACKET_SECONDS = 30.0
"""How long the rest of a packet may take, and the writing of one."""
_PROBE = "shell,v2,raw:exit 0"
_PUBLIC_KEY_SECONDS = 5.0
"""How long a device may take to let in a key that it has not seen, without a human."""


def open_direct(serial: str, timeout: float) -> DirectDevice:
    """The device HOST:PORT, or one on USB; raises AdbError."""
    from bpfctl.config import parse_host

    carrier: BaseTransport
    if is_address(serial):
        host, port = parse_host(serial)
        carrier = TcpCarrier(host, port)
    else:
        carrier, serial = find_usb(serial, timeout)
    return DirectDevice(serial, carrier, timeout)


class DirectDevice:
    """A connection to an adbd, open until `close`."""

    def __init__(self, serial: str, carrier: BaseTransport, timeout: float) -> None:
        self.serial = serial
        self._carrier = carrier
        self._chunk = _log_in(serial, carrier, timeout)
        self._writing = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._guard = threading.Lock()
        self._last_id = 0
        self._ended = ""
        self._closed = False
        self._shell_v2: bool | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def open(self, service: str, timeout: float) -> Stream:
        with self._guard:
            if self._ended:
                raise self._gone()
            self._last_id += 1
            stream = _Stream(self, self._last_id, self._chunk)
            self._streams[stream.local] = stream
        try:
            self.send(constants.OPEN, stream.local, 0, service.encode() + b"\0")
            if not stream.opened.wait(timeout):
                raise TimeoutError(f"{self.serial} does not answer")
        except BaseException:
            stream.close()
            raise
        if not stream.remote:
            trouble = self.trouble()
            if trouble is not None:
                raise trouble
            raise ServiceRefused(f"{self.serial} does not open {service.partition(':')[0]}")
        return stream

    def has_shell_v2(self, timeout: float) -> bool:
        # adb-shell keeps the banner with the device's features to itself: try.
        if self._shell_v2 is None:
            try:
                self.open(_PROBE, timeout).close()
                self._shell_v2 = True
            except ServiceRefused:
                self._shell_v2 = False
        return self._shell_v2

    def trouble(self) -> AdbError | None:
        return self._gone() if self._ended else None

    def _gone(self) -> AdbError:
        return AdbError(f"the connection to {self.serial} broke: {self._ended}")

    def close(self) -> None:
        self._closed = True
        self._end("closed")
        self._carrier.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(2 * _LOOK_SECONDS)

    def send(self, command: bytes, local: int, remote: int, data: bytes = b"") -> None:
        """Write one packet; raises OSError."""
        message = AdbMessage(command, local, remote, data)
        with self._writing:
            if self._ended:
                raise BrokenPipeError(self._ended)
            try:
                self._carrier.bulk_write(message.pack(), _PACKET_SECONDS)
                if data:
                    self._carrier.bulk_write(data, _PACKET_SECONDS)
            except OSError as error:
                # Half a packet may be on its way, and the reader is not told the reason.
                self._end(_reason(error))
                raise

    def forget(self, stream: _Stream) -> None:
        """Deal out no more packets to a stream."""
        with self._guard:
            self._streams.pop(stream.local, None)

    def _read(self) -> None:
        try:
            while not self._closed:
                header = self._header()
                if header:
                    self._deal(*struct.unpack(constants.MESSAGE_FORMAT, header))
        except (OSError, struct.error) as error:
            self._end(_reason(error))

    def _header(self) -> bytes:
        try:
            first = self._carrier.bulk_read(constants.MESSAGE_SIZE, _LOOK_SECONDS)
        except TimeoutError:
            return b""
        return bytes(first + self._exactly(constants.MESSAGE_SIZE - len(first)))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            data += self._carrier.bulk_read(size - len(data), _PACKET_SECONDS)
        return bytes(data)

    def _deal(
        self, command: int, remote: int, local: int, size: int, _sum: int, _magic: int
    ) -> None:
        if size > constants.MAX_ADB_DATA:
            raise ConnectionError(f"{self.serial} sent a packet of {size} bytes")
        data = self._exactly(size)
        with self._guard:
            stream = self._streams.get(local)
        kind = constants.WIRE_TO_ID.get(command)
        if stream is not None:
            stream.take(kind, remote, data)
        elif kind == constants.OKAY:
            # Of a stream that nobody waits for any more.
            self.send(constants.CLSE, local, remote)

    def _end(self, why: str) -> None:
        with self._guard:
            self._ended = self._ended or why
            streams = list(self._streams.values())
            self._streams.clear()
        for stream in streams:
            stream.take(constants.CLSE, 0, b"")


class _Stream:
    """A stream of a connection; the device may send once more when what it sent is taken."""

    def __init__(self, device: DirectDevice, local: int, chunk: int) -> None:
        self.local = local
        self.remote = 0
        self.opened = threading.Event()
        self._device = device
        self._chunk = chunk
        self._timeout: float | None = None
        self._changed = threading.Condition()
        self._data = b""
        self._may_send = False
        self._ended = False

    def take(self, kind: bytes | None, remote: int, data: bytes) -> None:
        """A packet of the device for this stream."""
        with self._changed:
            if kind == constants.OKAY:
                self.remote = remote
                self._may_send = True
            elif kind == constants.WRTE:
                self._data += data
            elif kind == constants.CLSE:
                self._ended = True
                self._device.forget(self)
            self._changed.notify_all()
        if kind in (constants.OKAY, constants.CLSE):
            self.opened.set()

    def recv(self, size: int) -> bytes:
        with self._changed:
            if not self._changed.wait_for(lambda: self._data or self._ended, self._timeout):
                raise TimeoutError
            piece, self._data = self._data[:size], self._data[size:]
            taken = bool(piece) and not self._data and not self._ended
        if taken:
            with contextlib.suppress(OSError):
                self._device.send(constants.OKAY, self.local, self.remote)
        return piece

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            with self._changed:
                if not self._changed.wait_for(
                    lambda: self._may_send or self._ended, self._timeout
                ):
                    raise TimeoutError
                if self._ended:
                    raise BrokenPipeError("the stream has ended")
                self._may_send = False
            piece, view = bytes(view[: self._chunk]), view[self._chunk :]
            self._device.send(constants.WRTE, self.local, self.remote, piece)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def close(self) -> None:
        with self._changed:
            ended, self._ended = self._ended, True
            self._changed.notify_all()
        self._device.forget(self)
        if not ended and self.remote:
            with contextlib.suppress(OSError):
                self._device.send(constants.CLSE, self.local, self.remote)


def _log_in(serial: str, carrier: BaseTransport, timeout: float) -> int:
    """Connect and show keys; gives the bytes that a packet may have. Raises AdbError."""
    device: Any = AdbDevice(carrier, timeout, b"bpfctl")
    asked = False

    def note(_: object) -> None:
        nonlocal asked
        asked = True

    try:
        device.connect(
            signers(), timeout, min(timeout, _PUBLIC_KEY_SECONDS), timeout, auth_callback=note
        )
    except BaseException as error:
        carrier.close()
        if asked:
            raise AdbError(
                f"{serial} does not trust this computer (unauthorized)",
                f"accept the question on its screen, or put {key_path()}.pub into its adb_keys",
            ) from None
        if isinstance(error, exceptions.InvalidCommandError) and "STLS" in str(error):
            raise AdbError(
                f"{serial} wants the TLS of wireless debugging, which needs the adb server",
                "install adb and pair it once: `adb pair HOST:PORT`",
            ) from None
        if isinstance(error, (exceptions.InvalidCommandError, exceptions.AdbTimeoutError)):
            raise AdbError(f"what listens on {serial} is not adbd") from None
        if isinstance(error, OSError):
            raise _unreachable(serial, error) from None
        raise
    return int(device.max_chunk_size)


def _unreachable(serial: str, error: OSError) -> AdbError:
    if isinstance(error, TimeoutError):
        return AdbError(f"{serial} does not answer", "is it up, is it an adbd?")
    if isinstance(error, ConnectionRefusedError):
        return AdbError(
            f"no adbd listens on {serial}", "`adb tcpip 5555` over USB makes a device listen"
        )
    return AdbError(f"{serial}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
