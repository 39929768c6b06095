# SPDX-License-Identifier: Apache-2.0
"""Without a server: logging in, streams and their ends, against an adbd in this process."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest
from bpfctl.adb import keys
from bpfctl.adb.choice import open_device
from bpfctl.adb.device import AdbError, Device, ServiceRefused
from bpfctl.adb.direct import open_direct

from tests.unit.bpfctl.adb.fake_adbd import FakeAdbd, trusted_key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key: making one takes a while."""
    folder = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_USER_HOME", str(folder))
        keys.signers()
    return folder


@pytest.fixture(autouse=True)
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / ".android")
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path / ".android"))
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)
    return tmp_path


def refusal(serial: str, timeout: float = 1.5) -> str:
    with pytest.raises(AdbError) as caught:
        open_direct(serial, timeout).close()
    return str(caught.value)


def say(device: Device, data: bytes) -> bytes:
    """What the service that hashes says to some data of at most a packet."""
    stream = device.open("exec:sum", 5)
    try:
        stream.settimeout(5)
        stream.sendall(data)
        return stream.recv(100)
    finally:
        stream.close()


def test_without_a_key() -> None:
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        assert say(device, b"\0\r\n\xff") == hashlib.sha256(b"\0\r\n\xff").digest()
        assert device.trouble() is None
        device.close()


def test_key_that_the_device_knows() -> None:
    with FakeAdbd(trusted_key(Path(f"{keys.key_path()}.pub"))) as adbd:
        device = open_direct(adbd.serial, 5)
        assert say(device, b"x") == hashlib.sha256(b"x").digest()
        device.close()
        assert adbd.offered == b""


def test_key_of_the_vendor(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = home / "vendor.adb_key"
    keys.key_path().rename(vendor)
    Path(f"{keys.key_path()}.pub").rename(f"{vendor}.pub")
    monkeypatch.setenv("ADB_VENDOR_KEYS", str(home))
    with FakeAdbd(trusted_key(Path(f"{vendor}.pub"))) as adbd:
        open_direct(adbd.serial, 5).close()
        assert adbd.offered == b""


@pytest.mark.parametrize("asks", [True, False])
def test_key_that_the_device_does_not_know(home: Path, asks: bool) -> None:
    stranger = trusted_key(Path(f"{keys.key_path()}.pub"))
    keys.key_path().unlink()
    with FakeAdbd(stranger, asks=asks) as adbd:
        said = refusal(adbd.serial)
        assert "does not trust this computer (unauthorized)" in said
        assert f"put {home}/.android/adbkey.pub into its adb_keys" in said
        assert adbd.offered.rstrip(b"\0") == Path(f"{keys.key_path()}.pub").read_bytes()


def test_wireless_debugging() -> None:
    with FakeAdbd() as adbd:
        word = int.from_bytes(b"STLS", "little")
        adbd.first_answer = b"STLS" + b"\0" * 16 + (word ^ 0xFFFFFFFF).to_bytes(4, "little")
        assert "wants the TLS of wireless debugging" in refusal(adbd.serial)


def test_what_is_no_adbd() -> None:
    with FakeAdbd() as adbd:
        adbd.first_answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        assert f"what listens on {adbd.serial} is not adbd" in refusal(adbd.serial)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serial = f"127.0.0.1:{listener.getsockname()[1]}"
        assert f"{serial} does not answer" in refusal(serial, 0.3)
    assert f"no adbd listens on {serial}; `adb tcpip 5555`" in refusal(serial, 0.3)


def test_services_that_the_device_does_not_have() -> None:
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        with pytest.raises(ServiceRefused, match="does not open localfilesystem"):
            device.open("localfilesystem:/none", 5)
        assert not device.has_shell_v2(5)
        device.close()


def test_streams_do_not_hold_each_other_up() -> None:
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        idle = device.open("exec:sum", 5)
        idle.sendall(b"unread")
        answers: dict[int, bytes] = {}

        def work(number: int) -> None:
            for _ in range(20):
                answers[number] = say(device, b"%d" % number)

        threads = [threading.Thread(target=work, args=(each,)) for each in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert answers == {each: hashlib.sha256(b"%d" % each).digest() for each in range(8)}
        assert idle.recv(100) == hashlib.sha256(b"unread").digest()
        device.close()


def test_data_is_cut_into_packets() -> None:
    data = os.urandom(200_000)
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        stream = device.open("exec:sum", 5)
        received = bytearray()

        def read() -> None:
            while len(received) < 4 * 32:
                received.extend(stream.recv(100))

        reader = threading.Thread(target=read)
        reader.start()
        stream.sendall(data)
        reader.join(10)
        size = 65536
        pieces = (data[start : start + size] for start in range(0, len(data), size))
        assert received == b"".join(hashlib.sha256(piece).digest() for piece in pieces)
        device.close()


def test_timeouts_of_a_stream() -> None:
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        stream = device.open("exec:sum", 5)
        stream.settimeout(0.1)
        with pytest.raises(TimeoutError):
            stream.recv(1)
        stream.sendall(b"still there")
        assert len(stream.recv(100)) == 32
        device.close()


def test_device_is_gone_in_the_middle() -> None:
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        stream = device.open("exec:sum", 5)
        threading.Timer(0.2, adbd.vanish).start()
        assert stream.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            stream.sendall(b"x")
        assert (
            f"the connection to {adbd.serial} broke: the device or the network is gone"
            in str(device.trouble())
        )
        with pytest.raises(AdbError, match="broke"):
            device.open("exec:sum", 5)
        device.close()


def test_closing_wakes_readers() -> None:
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        stream = device.open("exec:sum", 5)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(stream.recv(1)))
        reader.start()
        device.close()
        device.close()
        reader.join(5)
        assert got == [b""]


def test_device_that_breaks_the_rules() -> None:
    with FakeAdbd() as adbd:
        device = open_direct(adbd.serial, 5)
        stream = device.open("exec:huge", 5)
        assert stream.recv(1) == b""
        assert f"sent a packet of {1 << 31} bytes" in str(device.trouble())
        device.close()


def test_it_is_the_way_where_there_is_no_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{home}/none")
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setitem(sys.modules, "adb_shell.transport.usb_transport", None)
    with FakeAdbd() as adbd:
        monkeypatch.setenv("ANDROID_SERIAL", adbd.serial)
        device = open_device("", 5)
        assert device.serial == adbd.serial
        device.close()
    monkeypatch.setenv("ANDROID_SERIAL", "0123")
    with pytest.raises(AdbError, match=r"no adb server runs.*install adb"):
        open_device("", 5)
