# SPDX-License-Identifier: Apache-2.0
"""Which device is meant, and what is said of one that is not ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfctl.adb.device import AdbError, ServiceRefused
from bpfctl.adb.served import ServedDevice, choose, is_address, with_port
from bpfctl.adb.server import AdbServer, ServerAddress

from tests.unit.bpfctl.adb.fake_server import FakeServer, Request


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(tmp_path / "adb") as server:
        yield server


@pytest.fixture
def server(fake: FakeServer, tmp_path: Path) -> AdbServer:
    return AdbServer(ServerAddress(path=str(tmp_path / "adb")), 5)


def refusal(server: AdbServer, serial: str, timeout: float = 0.2) -> str:
    with pytest.raises(AdbError) as caught:
        choose(server, serial, timeout)
    return str(caught.value)


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        ("10.0.0.7:5555", True),
        ("board.lan:5555", True),
        ("[fd00::7]:5555", True),
        ("emulator-5554", False),
        ("R58M123ABC", False),
        ("adb-R58M-abcdef._adb-tls-connect._tcp", False),
        ("fd00::7", False),
    ],
)
def test_is_address(serial: str, expected: bool) -> None:
    assert is_address(serial) is expected


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        ("10.0.0.7", "10.0.0.7:5555"),
        ("[fd00::7]", "[fd00::7]:5555"),
        ("fd00::7", "[fd00::7]:5555"),
        ("10.0.0.7:5556", "10.0.0.7:5556"),
        ("R58M123ABC", "R58M123ABC"),
        ("123456", "123456"),
        ("", ""),
    ],
)
def test_addresses_get_the_usual_port(serial: str, expected: str) -> None:
    assert with_port(serial) == expected


def test_the_only_device(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device"}
    assert choose(server, "", 1) == "0123"
    assert choose(server, "0123", 1) == "0123"


def test_recovery_has_a_shell_too(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "recovery"}
    assert choose(server, "", 1) == "0123"


def test_several(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device", "4567": "offline"}
    said = refusal(server, "")
    assert "there are several devices: 0123, 4567 (offline)" in said
    assert "ANDROID_SERIAL" in said
    assert choose(server, "0123", 1) == "0123"


def test_none(server: AdbServer, fake: FakeServer) -> None:
    assert "adb knows no device; plug one in" in refusal(server, "")
    assert "no device '0123', nor any other" in refusal(server, "0123")
    fake.devices = {"4567": "unauthorized"}
    assert "there is 4567 (unauthorized)" in refusal(server, "0123")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("unauthorized", "does not trust this computer (unauthorized); accept the question"),
        ("no permissions (missing udev rules? user is in the plugdev group)", "a udev rule"),
        ("offline", "0123 is offline; does it hang"),
        ("sideload", "is in the state 'sideload', where it runs no shell"),
    ],
)
def test_not_ready(server: AdbServer, fake: FakeServer, state: str, words: str) -> None:
    fake.devices = {"0123": state}
    assert words in refusal(server, "0123")


def test_a_device_that_starts_is_waited_for(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "authorizing"}
    threading.Timer(0.3, lambda: fake.devices.update({"0123": "device"})).start()
    started = time.monotonic()
    assert choose(server, "0123", 10) == "0123"
    assert 0.2 < time.monotonic() - started < 5


def test_network_device_is_connected(server: AdbServer, fake: FakeServer) -> None:
    def connect(request: Request) -> None:
        fake.devices["10.0.0.7:5555"] = "device"
        request.okay("connected to 10.0.0.7:5555")

    fake.answers["host:connect:10.0.0.7:5555"] = connect
    assert choose(server, "10.0.0.7:5555", 5) == "10.0.0.7:5555"


def test_network_device_that_was_restarted(server: AdbServer, fake: FakeServer) -> None:
    def disconnect(request: Request) -> None:
        fake.devices.clear()
        request.okay("disconnected 10.0.0.7:5555")

    def connect(request: Request) -> None:
        fake.devices["10.0.0.7:5555"] = "device"
        request.okay("connected to 10.0.0.7:5555")

    fake.devices = {"10.0.0.7:5555": "offline"}
    fake.answers["host:disconnect:10.0.0.7:5555"] = disconnect
    fake.answers["host:connect:10.0.0.7:5555"] = connect
    assert choose(server, "10.0.0.7:5555", 5) == "10.0.0.7:5555"


def test_connection_that_ends_at_once_is_made_again(
    server: AdbServer, fake: FakeServer
) -> None:
    calls: list[float] = []

    def connect(request: Request) -> None:
        calls.append(time.monotonic())
        if len(calls) == 2:
            fake.devices["10.0.0.7:5555"] = "device"
        request.okay("already connected to 10.0.0.7:5555")

    fake.answers["host:connect:10.0.0.7:5555"] = connect
    assert choose(server, "10.0.0.7:5555", 5) == "10.0.0.7:5555"
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            "failed to connect to '10.0.0.7:5555': Connection refused",
            "Connection refused; does adbd listen there",
        ),
        ("failed to authenticate to 10.0.0.7:5555", "does not trust this computer"),
    ],
)
def test_network_device_that_cannot_be_connected(
    server: AdbServer, fake: FakeServer, answer: str, words: str
) -> None:
    fake.answers["host:connect:10.0.0.7:5555"] = lambda request: request.okay(answer)
    assert words in refusal(server, "10.0.0.7:5555")


def test_features(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device", "4567": "device"}
    fake.answers["host-serial:0123:features"] = lambda request: request.okay("cmd,shell_v2")
    fake.answers["host-serial:4567:features"] = lambda request: request.okay("cmd")
    assert ServedDevice(server, "0123").has_shell_v2(5)
    assert not ServedDevice(server, "4567").has_shell_v2(5)


def test_server_of_before_features(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device"}
    assert not ServedDevice(server, "0123").has_shell_v2(5)


def test_trouble(server: AdbServer, fake: FakeServer) -> None:
    fake.devices = {"0123": "device"}
    device = ServedDevice(server, "0123")
    fake.answers["exec:no"] = lambda request: request.fail("closed")
    assert device.trouble() is None
    with pytest.raises(ServiceRefused):
        device.open("exec:no", 5)
    fake.devices = {"0123": "offline"}
    assert "0123 is offline" in str(device.trouble())
    fake.devices = {}
    with pytest.raises(AdbError, match="0123 is gone; was it unplugged"):
        device.open("exec:no", 5)
    fake.close()
    assert "has ended; an adb of another version" in str(device.trouble())
    with pytest.raises(AdbError, match=r"the adb server at .* has ended"):
        device.open("exec:no", 5)
