# SPDX-License-Identifier: Apache-2.0
"""The adb server's protocol, against a server in this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfctl.adb.device import AdbError, ServiceRefused
from bpfctl.adb.server import (
    AdbServer,
    RequestFailed,
    ServerAddress,
    address_from_environment,
    find_server,
)

from tests.unit.bpfctl.adb.fake_server import FakeServer, Request


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(tmp_path / "adb") as server:
        yield server


@pytest.fixture
def server(fake: FakeServer, tmp_path: Path) -> AdbServer:
    return AdbServer(ServerAddress(path=str(tmp_path / "adb")), 5)


@pytest.mark.parametrize(
    ("variables", "text", "here"),
    [
        ({}, "127.0.0.1:5037", True),
        ({"ANDROID_ADB_SERVER_PORT": "5038"}, "127.0.0.1:5038", True),
        ({"ANDROID_ADB_SERVER_ADDRESS": "build.lan"}, "build.lan:5037", False),
        ({"ADB_SERVER_SOCKET": "tcp:5039"}, "127.0.0.1:5039", True),
        ({"ADB_SERVER_SOCKET": "tcp:build.lan:5039"}, "build.lan:5039", False),
        ({"ADB_SERVER_SOCKET": "tcp:[fd00::7]:5039"}, "[fd00::7]:5039", False),
        ({"ADB_SERVER_SOCKET": "tcp:localhost:5039"}, "localhost:5039", True),
        ({"ADB_SERVER_SOCKET": "localfilesystem:/run/adb"}, "/run/adb", True),
        ({"ADB_SERVER_SOCKET": "localabstract:adb"}, "@adb", True),
        # As with adb, it goes before the other two.
        (
            {"ADB_SERVER_SOCKET": "tcp:5039", "ANDROID_ADB_SERVER_PORT": "5038"},
            "127.0.0.1:5039",
            True,
        ),
    ],
)
def test_address(
    variables: dict[str, str], text: str, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = address_from_environment()
    assert (str(found), found.is_here) == (text, here)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANDROID_ADB_SERVER_PORT", "adb"),
        ("ANDROID_ADB_SERVER_PORT", "65536"),
        ("ADB_SERVER_SOCKET", "5037"),
        ("ADB_SERVER_SOCKET", "tcp:host:"),
        ("ADB_SERVER_SOCKET", "tcp:host:0"),
        ("ADB_SERVER_SOCKET", "vsock:3:5037"),
    ],
)
def test_address_that_is_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(AdbError, match=name):
        address_from_environment()


def test_texts_and_lists(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device", "10.0.0.7:5555": "no permissions (udev; see [url])"}
    assert server.version() == 41
    assert server.devices() == fake.devices
    with pytest.raises(RequestFailed, match="unknown host service"):
        server.query("host:nonsense")


def test_a_service_is_a_stream(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device"}

    def echo(request: Request) -> None:
        request.okay()
        while data := request.connection.recv(100):
            request.connection.sendall(data[::-1])

    fake.answers["exec:rev"] = echo
    stream = server.open("0123", "exec:rev", 5)
    stream.sendall(b"\0\1\2")
    assert stream.recv(100) == b"\2\1\0"
    assert fake.requests == ["host:transport:0123", "exec:rev"]
    stream.close()
    stream.close()


def test_closing_wakes_a_reader(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device"}
    done = threading.Event()

    def hang(request: Request) -> None:
        request.okay()
        done.wait(10)

    fake.answers["exec:hang"] = hang
    stream = server.open("0123", "exec:hang", 5)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(stream.recv(1)))
    reader.start()
    time.sleep(0.1)
    stream.close()
    reader.join(5)
    done.set()
    assert got == [b""]


def test_refusals_of_server_and_device_differ(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device"}
    fake.answers["localfilesystem:/none"] = lambda request: request.fail("closed")
    with pytest.raises(ServiceRefused, match="closed"):
        server.open("0123", "localfilesystem:/none", 5)
    with pytest.raises(RequestFailed, match="'9999' not found"):
        server.open("9999", "exec:id", 5)


def test_something_else_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "web"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")
                connection.recv(100)

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path}/web")
        with pytest.raises(AdbError, match=r"is not an adb server \(it says b'HTTP'\)"):
            find_server(5)
        thread.join()


def test_it_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path}/mute")
        with pytest.raises(AdbError, match="does not answer: timed out"):
            find_server(0.2)


def test_no_server_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    # 192.0.2.0/24 is for documentation; a name that has no address fails sooner.
    monkeypatch.setenv("ANDROID_ADB_SERVER_ADDRESS", "no-such-host.invalid")
    with pytest.raises(AdbError, match="does not answer"):
        find_server(2)


def test_no_server_and_no_adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path}/none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server(2) is None


def test_adb_cannot_start_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adb = tmp_path / "adb"
    adb.write_text("#!/bin/sh\necho '* daemon not running; starting now at tcp:5037'\nexit 1\n")
    adb.chmod(0o755)
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path}/none")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(AdbError, match="start-server` failed: daemon not running"):
        find_server(2)
