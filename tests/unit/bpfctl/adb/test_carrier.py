# SPDX-License-Identifier: Apache-2.0
"""What carries packets: TCP against a slow peer; USB with its library played by this module."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_shell import exceptions
from bpfctl.adb.carrier import TcpCarrier, find_usb
from bpfctl.adb.device import AdbError
from bpfctl.adb.direct import DirectDevice

from tests.unit.bpfctl.adb.fake_adbd import FakeAdbd


def test_what_a_full_buffer_leaves_out_is_sent_too() -> None:
    data = bytes(range(256)) * 40_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        carrier = TcpCarrier(*listener.getsockname())
        carrier.connect(5)
        peer, _ = listener.accept()
        received = bytearray()

        def read() -> None:
            time.sleep(0.1)
            while piece := peer.recv(1 << 16):
                received.extend(piece)

        reader = threading.Thread(target=read)
        reader.start()
        assert carrier.bulk_write(data, 10) == len(data)
        carrier.close()
        reader.join(10)
        peer.close()
        assert received == data


def test_timeouts_and_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        carrier = TcpCarrier(*listener.getsockname())
        with pytest.raises(ConnectionError, match="not connected"):
            carrier.bulk_read(1, 1)
        carrier.connect(5)
        peer, _ = listener.accept()
        with pytest.raises(TimeoutError):
            carrier.bulk_read(1, 0.05)
        with pytest.raises(TimeoutError):
            carrier.bulk_write(b"x" * (64 << 20), 0.05)
        peer.close()
        with pytest.raises(OSError, match=r".+"):
            carrier.bulk_read(1, 5)
        carrier.close()
        carrier.close()


class UsbError(Exception):
    pass


class UsbTimeout(UsbError):
    pass


class UsbTransport:
    """adb-shell's UsbTransport, with its errors, on top of TCP."""

    there: tuple[UsbTransport, ...] = ()

    def __init__(self, serial_number: str, address: tuple[str, int] = ("", 0)) -> None:
        self.serial_number = serial_number
        self._carrier = TcpCarrier(*address)
        self.connect = self._carrier.connect
        self.close = self._carrier.close

    @classmethod
    def find_all_adb_devices(cls, timeout: float) -> Iterator[UsbTransport]:
        return iter(cls.there)

    def bulk_read(self, size: int, timeout: float) -> bytearray:
        try:
            return bytearray(self._carrier.bulk_read(size, timeout))
        except TimeoutError:
            raise exceptions.UsbReadFailedError("no", UsbTimeout()) from None
        except OSError:
            raise exceptions.UsbReadFailedError("no", UsbError("NO_DEVICE [-4]")) from None

    def bulk_write(self, data: bytes, timeout: float) -> int:
        return self._carrier.bulk_write(data, timeout)


@pytest.fixture(autouse=True)
def usb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[UsbTransport]:
    library = types.ModuleType("usb1")
    vars(library).update(USBError=UsbError, USBErrorTimeout=UsbTimeout)
    module = types.ModuleType("usb_transport")
    vars(module).update(UsbTransport=UsbTransport)
    monkeypatch.setitem(sys.modules, "usb1", library)
    monkeypatch.setitem(sys.modules, "adb_shell.transport.usb_transport", module)
    monkeypatch.setattr(UsbTransport, "there", ())
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path))
    return UsbTransport


def test_which_device(usb: type[UsbTransport]) -> None:
    with pytest.raises(AdbError, match="there is no device on USB"):
        find_usb("", 1)
    with pytest.raises(AdbError, match=r"no device '0123'; there is none on USB"):
        find_usb("0123", 1)
    usb.there = (usb("0123"),)
    assert find_usb("", 1)[1] == "0123"
    usb.there = (usb("0123"), usb("4567"))
    assert find_usb("4567", 1)[1] == "4567"
    with pytest.raises(AdbError, match="there are several devices: 0123, 4567"):
        find_usb("", 1)
    with pytest.raises(AdbError, match=r"no device '89'; there is 0123, 4567"):
        find_usb("89", 1)


def test_streams_over_usb(usb: type[UsbTransport]) -> None:
    with FakeAdbd() as adbd:
        host, _, port = adbd.serial.rpartition(":")
        usb.there = (usb("0123", (host, int(port))),)
        carrier, serial = find_usb("", 5)
        device = DirectDevice(serial, carrier, 5)
        stream = device.open("exec:sum", 5)
        # Longer than the reader waits at a time: that nothing comes is no end.
        time.sleep(1.2)
        stream.sendall(b"over")
        assert stream.recv(100) == hashlib.sha256(b"over").digest()
        adbd.vanish()
        assert stream.recv(1) == b""
        assert "the connection to 0123 broke: NO_DEVICE [-4]" in str(device.trouble())
        device.close()
