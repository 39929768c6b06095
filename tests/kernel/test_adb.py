# SPDX-License-Identifier: Apache-2.0
"""Against Debian's real adbd and adb server, each in a network namespace: see adb_support.

Every test of the fixture `device` runs twice: through the server, and without any.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfctl.adb.server import AdbServer, ServerAddress
from bpfctl.adb.shell import AdbShell
from bpfctl.bootstrap.shell import Completed
from bpfctl.config import AdbTarget
from bpfctl.errors import TargetUnreachable

from tests.kernel.adb_gate import Gate
from tests.kernel.adb_support import Bench, bench, compile_su
from tests.kernel.api import eventually
from tests.unit.bpfctl.adb.fake_adbd import trusted_key

PORT = 5601

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="runs the adbd of Debian for amd64"
)


@pytest.fixture(scope="module")
def running() -> Iterator[Bench]:
    """Two devices and a server."""
    with bench() as made:
        made.start_device(PORT)
        made.start_device(PORT + 1)
        made.start_server()
        yield made


@pytest.fixture
def served(running: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The server is there for clients of this process."""
    for name in ("ANDROID_SERIAL", "ANDROID_USER_HOME", "ADB_VENDOR_KEYS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    return running


@pytest.fixture
def alone(served: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """There is no server and no adb to start one."""
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{served.folder}/none")
    monkeypatch.setenv("PATH", "/usr/sbin:/sbin")
    return served


@pytest.fixture(params=["served", "alone"])
def device(request: pytest.FixtureRequest) -> str:
    """Serial number of a device, by both ways."""
    made: Bench = request.getfixturevalue(request.param)
    return f"{made.there}:{PORT}"


def shell(serial: str) -> contextlib.closing[AdbShell]:
    return contextlib.closing(AdbShell("phone", AdbTarget(serial), 10))


def refusal(serial: str, script: str = "true") -> str:
    with pytest.raises(TargetUnreachable) as caught, shell(serial) as opened:
        opened.run(script)
    return str(caught.value)


def test_outputs_and_exit_codes(device: str) -> None:
    with shell(device) as opened:
        assert opened.run("printf out; printf err >&2; exit 37") == Completed(
            37, b"out", b"err"
        )
        assert opened.run("kill -9 $$").status == 137
        assert opened.run("true") == Completed(0, b"", b"")
        assert opened.run("no-such-command").status == 127


def test_every_byte_passes(device: str) -> None:
    every = bytes(range(256)) * 300
    with shell(device) as opened:
        assert opened.run("cat", every) == Completed(0, every, b"")
        assert opened.run("cat >&2", every[:2000]) == Completed(0, b"", every[:2000])
        quotes = "printf %s 'it'\\''s \"$HOME\" `x` %s'\nprintf '\\n'"
        assert opened.run(quotes).stdout == b'it\'s "$HOME" `x` %s\n'


def test_fifteen_megabytes(device: str) -> None:
    data = os.urandom(15 << 20)
    pieces = (data[start : start + 1_000_000] for start in range(0, len(data), 1_000_000))
    with shell(device) as opened:
        said = opened.run("sha256sum", pieces)
    assert said.text.split()[0] == hashlib.sha256(data).hexdigest()


def test_script_that_does_not_read_its_input(device: str) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 65536

    with shell(device) as opened:
        assert opened.run("head -c 3; exit 5", endless()) == Completed(5, b"xxx", b"")
        assert opened.run("exit 6", b"x" * (8 << 20)).status == 6
    assert taken < 1000


def test_input_that_fails_ends_the_script(device: str, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"first\n"
        raise RuntimeError("no more")

    with shell(device) as opened:
        with pytest.raises(RuntimeError, match="no more"):
            opened.run(f"cat; echo done > {tmp_path}/done", broken())
        assert opened.run("echo next").text == "next\n"


def test_silence(device: str) -> None:
    with shell(device) as opened:
        with pytest.raises(TargetUnreachable, match=r"said nothing for 0.3 s"):
            opened.run("exec sleep 3", timeout=0.3)

        def slow() -> Iterator[bytes]:
            for _ in range(8):
                time.sleep(0.1)
                yield b"x"

        # Not silent: input is taken all the time.
        assert opened.run("wc -c", slow(), timeout=0.5).text.strip() == "8"


def test_scripts_at_the_same_time(device: str, tmp_path: Path) -> None:
    results: dict[int, int] = {}
    meet = f"cd {tmp_path}; until [ -e 0 ] && [ -e 1 ] && [ -e 2 ] && [ -e 3 ]; do :; done"
    with shell(device) as opened:

        def work(number: int) -> None:
            script = f"touch {tmp_path}/{number}; {meet}; exit {number}"
            results[number] = opened.run(script).status

        threads = [threading.Thread(target=work, args=(each,)) for each in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {number: number for number in range(4)}


def test_more_output_than_is_kept(device: str) -> None:
    with shell(device) as opened:
        said = opened.run("head -c 9000000 /dev/zero; echo end >&2; exit 3")
    assert (said.status, len(said.stdout), said.stderr) == (3, 4 << 20, b"end\n")


def test_dial_a_socket_and_its_fallback(device: str, tmp_path: Path) -> None:
    with shell(device) as opened:
        stream = opened.dial(f"{tmp_path}/none", "cat; exit 4")
        stream.sendall(b"\0through\xff")
        assert stream.recv(100) == b"\0through\xff"
        stream.shutdown_write()
        assert stream.recv(100) == b""
        assert stream.recv_exit_status() == 4
        stream.close()


def test_several_devices(served: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = f"{served.there}:{PORT}", f"{served.there}:{PORT + 1}"
    for serial in (first, second):
        with shell(serial) as opened:
            assert opened.host == serial
    said = refusal("")
    assert "there are several devices" in said
    assert first in said
    assert second in said
    monkeypatch.setenv("ANDROID_SERIAL", second)
    with shell("") as opened:
        assert opened.host == second


def test_nobody_listens(served: Bench) -> None:
    said = refusal(f"{served.there}:1")
    assert "Connection refused" in said
    assert "adb tcpip 5555" in said


def test_device_restarts(served: Bench) -> None:
    serial = f"{served.there}:{PORT + 2}"
    first = served.start_device(PORT + 2)
    with shell(serial) as opened:
        served.stop(first)
        with pytest.raises(TargetUnreachable, match=r"is (gone|offline)"):
            opened.run("true")
    second = served.start_device(PORT + 2)
    with shell(serial) as opened:
        assert opened.run("echo back").text == "back\n"
    served.stop(second)


def test_device_is_gone_in_the_middle_of_a_script(device: str, running: Bench) -> None:
    serial = device.replace(f":{PORT}", f":{PORT + 3}")
    process = running.start_device(PORT + 3)
    with shell(serial) as opened:
        threading.Timer(0.3, running.stop, (process,)).start()
        started = time.monotonic()
        with pytest.raises(TargetUnreachable, match=r"is gone|is offline|broke"):
            opened.run("sleep 60")
        assert time.monotonic() - started < 40


def test_server_ends_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as made:
        made.start_device(PORT)
        server = made.start_server()
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        with shell(f"127.0.0.1:{PORT}") as opened:
            threading.Timer(0.3, server.kill).start()
            with pytest.raises(TargetUnreachable, match=r"the adb server at .* has ended"):
                opened.run("sleep 60")


def test_server_on_a_port(alone: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    monkeypatch.delenv("ADB_SERVER_SOCKET")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    monkeypatch.setenv("ANDROID_SERIAL", f"{alone.there}:{PORT}")
    command = [*alone.programs.command("adb"), "-P", port, "nodaemon", "server"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: not connects(port))
        with shell("") as opened:
            assert opened.run("echo hello").text == "hello\n"
        assert AdbServer(ServerAddress(port=int(port)), 5).devices() == {
            f"{alone.there}:{PORT}": "device"
        }
    finally:
        server.kill()
        server.wait()


def connects(port: str) -> int:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port)))


def test_server_is_started_by_adb(alone: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    program = alone.programs.install_adb(alone.folder)
    monkeypatch.setenv("PATH", f"{alone.folder}:/usr/bin:/bin")
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{alone.folder}/started")
    try:
        with shell(f"{alone.there}:{PORT}") as opened:
            assert opened.run("echo hello").text == "hello\n"
        listed = subprocess.run([program, "devices"], capture_output=True, text=True).stdout
        assert f"{alone.there}:{PORT}\tdevice" in listed
    finally:
        subprocess.run([program, "kill-server"], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["AOSP", "MAGISK"])
def test_su(kind: str, served: Bench) -> None:
    folder = Path(tempfile.mkdtemp(dir=served.folder))
    compile_su(folder / "su", kind)
    folder.chmod(0o755)
    process = served.start_user_device(PORT + 4, f"{folder}:/usr/bin:/bin")
    with shell(f"{served.there}:{PORT + 4}") as opened:
        said = opened.run("id -u; cat; echo 'it'\\''s' >&2; exit 9", b"\0\xff")
        assert said == Completed(9, b"0\n\0\xff", b"it's\n")
        stream = opened.dial("/none", "id -u; cat")
        assert stream.recv(100) == b"0\n"
        stream.close()
    served.stop(process)


def test_no_root(alone: Bench) -> None:
    process = alone.start_user_device(PORT + 5, str(alone.folder / "none"))
    said = refusal(f"{alone.there}:{PORT + 5}")
    assert f"the shell of {alone.there}:{PORT + 5} is not root's (uid 2000)" in said
    assert "`adb root` on a debuggable build" in said
    alone.stop(process)


@pytest.fixture
def gate(running: Bench) -> Iterator[Gate]:
    """A device in front of a device."""
    with Gate(running.here, (running.there, PORT)) as made:
        yield made


@pytest.mark.parametrize("way", ["served", "alone"])
def test_unauthorized(way: str, gate: Gate, request: pytest.FixtureRequest) -> None:
    made: Bench = request.getfixturevalue(way)
    with shell(f"{made.there}:{PORT}") as opened:
        opened.run("true")
    stranger = made.folder / "stranger"
    stranger.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        from bpfctl.adb import keys

        patch.setenv("ANDROID_USER_HOME", str(stranger))
        keys.signers()
        gate.key, gate.asks = trusted_key(stranger / "adbkey.pub"), True
    said = refusal(gate.serial)
    assert "does not trust this computer (unauthorized)" in said
    assert "accept the question on its screen" in said


@pytest.mark.parametrize("way", ["served", "alone"])
def test_key_that_the_device_knows(
    way: str, gate: Gate, request: pytest.FixtureRequest
) -> None:
    made: Bench = request.getfixturevalue(way)
    with shell(f"{made.there}:{PORT}") as opened:
        opened.run("true")
    gate.key = trusted_key(made.home / ".android" / "adbkey.pub")
    with shell(gate.serial) as opened:
        assert opened.run("echo in").text == "in\n"


@pytest.mark.parametrize("way", ["served", "alone"])
def test_device_of_before_android_7(
    way: str, gate: Gate, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue(way)
    gate.old = True
    before = set(Path("/tmp").glob(".bpfctl-*"))
    every = bytes(range(256)) * 8192
    with shell(gate.serial) as opened:
        assert opened.run("printf out; printf err >&2; exit 37") == Completed(
            37, b"out", b"err"
        )
        assert opened.run("cat", every[:3000]) == Completed(0, every[:3000], b"")
        assert opened.run("sha256sum", every).text.split()[0] == (
            hashlib.sha256(every).hexdigest()
        )
        assert opened.run("cd /none; exit").status == 2
        assert opened.run(f"# {'x' * 9000}\nexit 7").status == 7
        stream = opened.dial(f"{tmp_path}/none", "cat")
        stream.sendall(b"\0through\xff")
        assert stream.recv(100) == b"\0through\xff"
        stream.close()
    assert set(Path("/tmp").glob(".bpfctl-*")) == before
