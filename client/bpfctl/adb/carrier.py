# SPDX-License-Identifier: Apache-2.0
"""What carries the packets of a connection to an adbd: TCP or USB.

Both raise TimeoutError when nothing comes, and OSError when the far side is gone.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from adb_shell import exceptions
from adb_shell.transport.base_transport import BaseTransport

from bpfctl.adb.device import AdbError

_IDLE_SECONDS = 10
_PROBE_SECONDS = 5
_PROBES = 4
_UNHEARD_MILLISECONDS = 20_000
"""How long what was sent may go without an answer of the device's kernel (tcp(7))."""


class TcpCarrier(BaseTransport):  # type: ignore[misc]
    """A TCP connection; the kernel ends it when the device is silent for half a minute.

    adb-shell's own takes what a full socket buffer leaves out for written.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def connect(self, transport_timeout_s: float | None) -> None:
        carrier = socket.create_connection(self._address, transport_timeout_s)
        carrier.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", _IDLE_SECONDS),
            ("TCP_KEEPINTVL", _PROBE_SECONDS),
            ("TCP_KEEPCNT", _PROBES),
            ("TCP_USER_TIMEOUT", _UNHEARD_MILLISECONDS),
        ):
            if hasattr(socket, option):
                carrier.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        # One thread reads and one writes: a timeout that both share would be no one's.
        carrier.settimeout(None)
        self._socket = carrier

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        carrier = self._open_socket()
        if not _wait(carrier, transport_timeout_s, writing=False):
            raise TimeoutError("nothing came")
        data = carrier.recv(numbytes)
        if not data:
            raise ConnectionResetError("the device or the network is gone")
        return data

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        carrier = self._open_socket()
        view = memoryview(data)
        while view:
            if not _wait(carrier, transport_timeout_s, writing=True):
                raise TimeoutError("the device takes nothing")
            view = view[carrier.send(view, socket.MSG_DONTWAIT) :]
        return len(data)

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("not connected")
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None


def _wait(carrier: socket.socket, seconds: float | None, *, writing: bool) -> bool:
    import select

    if carrier.fileno() < 0:
        raise ConnectionError("closed")
    poll = select.poll()
    poll.register(carrier, select.POLLOUT if writing else select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


class UsbCarrier(BaseTransport):  # type: ignore[misc]
    """adb-shell's USB transport, with the errors of this module."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def connect(self, transport_timeout_s: float | None) -> None:
        with _usb_errors():
            self._transport.connect(transport_timeout_s)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        with _usb_errors():
            return bytes(self._transport.bulk_read(numbytes, transport_timeout_s))

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        with _usb_errors():
            return int(self._transport.bulk_write(data, transport_timeout_s))

    def close(self) -> None:
        self._transport.close()


@contextlib.contextmanager
def _usb_errors() -> Iterator[None]:
    import usb1

    try:
        yield
    except (exceptions.UsbReadFailedError, exceptions.UsbWriteFailedError) as error:
        cause = getattr(error, "usb_error", None) or error.args[-1]
        if isinstance(cause, usb1.USBErrorTimeout):
            raise TimeoutError("nothing came") from None
        raise ConnectionError(str(cause or error)) from None
    except usb1.USBError as error:
        raise ConnectionError(str(error)) from None


def find_usb(serial: str, timeout: float) -> tuple[BaseTransport, str]:
    """The device on USB with that serial number, or the only one, and its number.

    Raises AdbError.
    """
    try:
        from adb_shell.transport.usb_transport import UsbTransport
    except (ImportError, OSError):
        raise AdbError(
            "no adb server runs, there is no `adb` on PATH to start one, and USB cannot be "
            "used without",
            "install adb (Debian: adb), or name a device on the network by HOST:PORT, or "
            "`pip install 'bpfd[usb]'`",
        ) from None
    found: dict[str, Any] = {
        each.serial_number: each for each in UsbTransport.find_all_adb_devices(timeout)
    }
    if serial and serial not in found:
        there = f"there is {', '.join(found)}" if found else "there is none on USB"
        raise AdbError(f"there is no device {serial!r}", there)
    if not serial and len(found) != 1:
        if found:
            raise AdbError(
                f"there are several devices: {', '.join(found)}",
                "choose one with --adb SERIAL, -t adb:SERIAL or ANDROID_SERIAL",
            )
        raise AdbError(
            "no adb server runs and there is no device on USB",
            "plug one in and allow USB debugging, or name one on the network with "
            "-t adb:HOST:PORT",
        )
    serial = serial or next(iter(found))
    return UsbCarrier(found[serial]), serial
