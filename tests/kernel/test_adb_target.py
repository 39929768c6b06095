# SPDX-License-Identifier: Apache-2.0
"""`bpfctl target up` by adb on a root like Android's, and what works there afterwards.

The shell is mksh, the commands are toybox's, adbd is Debian's; the kernel is this machine's.
Every test of the fixture `phone` runs twice: through the adb server, and without any.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bpfctl import bundle
from bpfctl.adb.shell import AdbShell
from bpfctl.config import AdbTarget, LocalTarget, cache_dir
from bpfctl.target import Target

from tests.kernel.adb_gate import Gate
from tests.kernel.adb_support import Bench, bench
from tests.kernel.command_line import CommandLine, finish

PORT = 5601

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="runs the adbd of Debian for amd64"
)
HOME = "/data/local/tmp/bpfd"
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Phone:
    """A device, and a command line with settings of its own."""

    bench: Bench
    serial: str
    line: CommandLine

    def run(self, script: str) -> str:
        """A script on the device; adb's settings are those of the command line."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.line.environment.items():
                patch.setenv(name, value)
            with contextlib.closing(AdbShell("phone", AdbTarget(self.serial), 10)) as shell:
                done = shell.run(script)
        assert done.status == 0, done.words
        return done.text

    def listing(self) -> list[str]:
        """Every file that a daemon could have left, every mount and process of ours."""
        show = "-exec stat -c '%n %F %a %u %g' {} +"
        files = self.run(f"find /data /sys/fs/bpf {show}; cat /proc/mounts")
        processes = self.run("ps -A -o ARGS").splitlines()
        return sorted(files.splitlines()) + [line for line in processes if HOME in line]

    def daemon(self) -> Target:
        """The daemon without adb: its socket is seen through a process of the namespace."""
        info = json.loads(self.line.run("target", "info", "phone", "-o", "json").ok())
        socket = f"/proc/{info['daemon_pid']}/root{HOME}/run/bpfd.sock"
        return Target.open("daemon", LocalTarget(socket))


def path_without_adb(folder: Path) -> str:
    """A PATH with all programs of this machine but adb."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            with contextlib.suppress(FileExistsError):
                (folder / program.name).symlink_to(program)
    (folder / "adb").unlink(missing_ok=True)
    return str(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of this machine's architecture; it stays as it is when another is built."""
    copy = tmp_path_factory.mktemp("bundle") / "bundle.tar.gz"
    shutil.copy(bundle.build("amd64").path, copy)
    return copy


@contextlib.contextmanager
def switched_on(way: str, su: str = "") -> Iterator[Phone]:
    """A device without a target; see `Bench.start_android`."""
    with bench() as made:
        made.start_android(PORT, su)
        line = CommandLine(made.folder / "none", made.folder)
        line.environment |= made.environment()
        line.environment["BPFCTL_CACHE_DIR"] = str(cache_dir())
        line.environment.pop("ANDROID_SERIAL", None)
        if way == "served":
            made.start_server()
        else:
            line.environment["PATH"] = path_without_adb(made.folder / "programs")
            line.environment["ADB_SERVER_SOCKET"] = f"localfilesystem:{made.folder}/none"
        yield Phone(made, f"{made.there}:{PORT}", line)


@pytest.fixture(scope="module", params=["served", "alone"])
def device(request: pytest.FixtureRequest) -> Iterator[Phone]:
    """A device without a target, by both ways."""
    with switched_on(request.param) as made:
        yield made


@pytest.fixture
def phone(device: Phone, built: Path) -> Iterator[Phone]:
    """The target `phone`, whose daemon runs."""
    device.line.run("target", "add", "phone", "--replace", "--adb", device.serial).ok()
    try:
        device.line.run("target", "up", "phone", "--bundle", built).ok()
        yield device
    finally:
        device.line.run("target", "purge", "phone")


def test_up_and_down(device: Phone, built: Path) -> None:
    line = device.line
    before = device.listing()
    line.run("target", "add", "phone", "--adb", device.serial).ok()
    line.run("-t", "phone", "object", "list").refused(5, "no daemon runs there", "target up")
    up = line.run("target", "up", "phone", "--bundle", built)
    assert f"has been started ({HOME}, " in up.out
    assert "MB sent" in up.out
    assert "runs already" in line.run("target", "up", "phone", "--bundle", built).out
    line.run("target", "down", "phone").ok()
    said = line.run("-t", "phone", "object", "list").refused(5, "the daemon is not running")
    assert "`bpfctl target up phone` starts it" in said
    again = line.run("target", "up", "phone", "--bundle", built)
    assert f"has been started ({HOME})" in again.out
    line.run("target", "purge", "phone").ok()
    assert device.listing() == before


def test_tour(phone: Phone) -> None:
    line = phone.line
    info = json.loads(line.run("target", "info", "phone", "-o", "json").ok())
    assert info["operating_system"] == "Android 14 (Debian Lookalike)"
    assert info["role"] == "operator"
    line.run("-t", "phone", "load", REPOSITORY / "bpf/ddos").ok()
    line.run("-t", "phone", "map", "set", "ddos/block_v4", "192.0.2.0/24", "1").ok()
    dumped = line.run("-t", "phone", "map", "dump", "ddos/block_v4", "-o", "json").ok()
    assert json.loads(dumped)[0]["key"] == "192.0.2.0/24"
    objects = json.loads(line.run("-t", "phone", "object", "list", "-o", "json").ok())
    assert [each["name"] for each in objects] == ["ddos"]
    line.run("-t", "phone", "unload", "ddos").ok()


def test_without_an_entry(phone: Phone) -> None:
    serial = {"ANDROID_SERIAL": phone.serial}
    assert phone.line.run("-t", f"adb:{phone.serial}", "object", "list").ok() == ""
    assert phone.line.run("-t", "adb:", "object", "list", environment=serial).ok() == ""
    phone.line.run("-t", f"adb:{phone.bench.there}:1", "object", "list").refused(5, ":1")


def test_a_run_ends_with_its_device(phone: Phone) -> None:
    with Gate(phone.bench.here, (phone.bench.there, PORT)) as gate:
        phone.line.run("target", "add", "far", "--adb", gate.serial).ok()
        phone.line.run("target", "up", "far").ok()
        with phone.daemon() as daemon:
            tracing = phone.line.start("-t", "far", "run", REPOSITORY / "bpf/tcplife")
            _until(lambda: len(daemon.links()) == 1, "the program is attached")
            gate.close()
            started = time.monotonic()
            done = finish(tracing)
            assert time.monotonic() - started < 10
            done.refused(5, "target far", context=True)
            _until(lambda: not daemon.links() and not daemon.objects(), "the session ends")


def test_an_upload_is_continued(device: Phone, built: Path) -> None:
    class Cutting(Gate):
        passed = 0

        def sees(self, data: bytes) -> bool:
            self.passed += len(data)
            return not (len(self.connections) == 1 and self.passed > built.stat().st_size / 2)

    before = device.listing()
    with Cutting(device.bench.here, (device.bench.there, PORT)) as gate:
        device.line.run("target", "add", "phone", "--replace", "--adb", gate.serial).ok()
        up = device.line.run("target", "up", "phone", "--bundle", built)
        assert "has been started" in up.out, up.out
        assert len(gate.connections) > 1
        assert gate.passed < 1.5 * built.stat().st_size
        device.line.run("target", "purge", "phone").ok()
    assert device.listing() == before


def test_device_of_android_5(device: Phone, built: Path) -> None:
    before = device.listing()
    with Gate(device.bench.here, (device.bench.there, PORT)) as gate:
        gate.old = True
        device.line.run("target", "add", "phone", "--replace", "--adb", gate.serial).ok()
        device.line.run("target", "up", "phone", "--bundle", built).ok()
        assert device.line.run("-t", "phone", "object", "list").ok() == ""
        device.line.run("target", "purge", "phone").ok()
    assert device.listing() == before


@pytest.mark.parametrize(("way", "su"), [("served", "AOSP"), ("alone", "MAGISK")])
def test_device_whose_shell_is_not_root(way: str, su: str, built: Path) -> None:
    with switched_on(way, su) as device:
        before = device.listing()
        device.line.run("target", "add", "phone", "--adb", device.serial).ok()
        device.line.run("target", "up", "phone", "--bundle", built).ok()
        info = json.loads(device.line.run("target", "info", "phone", "-o", "json").ok())
        assert "0x1ff" in info["capabilities"]
        # adbd may not open the socket: the bytes go through su.
        device.line.run("-t", "phone", "load", REPOSITORY / "bpf/ddos").ok()
        device.line.run("-t", "phone", "unload", "ddos").ok()
        device.line.run("target", "purge", "phone").ok()
        _until(lambda: device.listing() == before, "every process ends")


def _until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
