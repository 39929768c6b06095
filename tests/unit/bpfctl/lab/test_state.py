# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from bpfctl.lab import boot, state
from bpfctl.lab.errors import LabError

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where running boards are noted."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "bpfctl" / "lab"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield process
        process.kill()


def running(process: state.Process, name: str = "b") -> state.Running:
    return state.Running(name, "arm64-6.12", "arm64", "6.12.1", 256, 1, process, 40001)


def here(process: subprocess.Popen[bytes]) -> state.Process:
    found = state.Process.find(process.pid)
    assert found is not None
    return found


def test_a_process_is_known_by_when_it_started(sleeper: subprocess.Popen[bytes]) -> None:
    process = here(sleeper)
    assert process.alive
    assert process.resident > 1 << 20
    assert not replace(process, started=process.started - 1).alive
    assert not replace(process, boot="another boot").alive
    sleeper.kill()
    # It is dead at once, whether its parent asked for it or not.
    assert process.wait(5)
    assert not process.alive
    sleeper.wait()
    assert state.Process.find(sleeper.pid) is None
    assert process.resident == 0


def test_a_process_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    process = here(sleeper)
    assert process.end(signal.SIGTERM, 5)
    assert sleeper.wait() == -signal.SIGTERM
    assert process.end(signal.SIGTERM, 0)


def test_what_does_not_end_is_told() -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        assert not here(process).end(signal.SIGTERM, 0.2)
        assert here(process).end(signal.SIGKILL, 5)


def test_a_foreign_process_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    """The id was given to another process since the board ran."""
    process = here(sleeper)
    place = state.place("b")
    place.make()
    for foreign in (
        replace(process, started=process.started - 100),
        replace(process, boot="before the reboot"),
    ):
        place.make()
        place.write(running(foreign))
        assert foreign.end(signal.SIGKILL, 0)
        assert place.process() is None
        assert not boot.stop(place)
        assert not place.folder.exists()
    assert state.running() == []
    assert sleeper.poll() is None


def test_a_foreign_process_without_state(sleeper: subprocess.Popen[bytes]) -> None:
    place = state.place("b")
    place.make()
    place.pid.write_text(f"{sleeper.pid}\n")
    assert place.process() is None
    assert not boot.stop(place)
    assert sleeper.poll() is None


def test_a_start_that_was_cut_off_is_found() -> None:
    """Only QEMU's own note is there; its command line names it."""
    place = state.place("b")
    place.make()
    with subprocess.Popen([*SLEEP, "-pidfile", str(place.pid)], stdout=subprocess.PIPE) as qemu:
        assert qemu.stdout is not None
        qemu.stdout.read(1)
        place.pid.write_text(f"{qemu.pid}\n")
        assert place.process() == state.Process.find(qemu.pid)
        assert boot.stop(place)
        assert qemu.wait() == -signal.SIGTERM
    assert not place.folder.exists()


def test_state_comes_back(sleeper: subprocess.Popen[bytes], folder: Path) -> None:
    place = state.place("b")
    assert place.folder == folder / "b"
    place.make()
    assert place.folder.stat().st_mode & 0o777 == 0o700
    written = replace(running(here(sleeper)), adb_port=7, android=True, joined="a", since=1.5)
    place.write(written)
    assert place.read() == written
    assert state.running() == [written]
    sleeper.kill()
    sleeper.wait()
    assert state.running() == []


@pytest.mark.parametrize("text", ["", "[]", '{"name": "b"}', '{"process": 3}', "\0"])
def test_damaged_state_is_none(text: str) -> None:
    place = state.place("b")
    place.make()
    place.state.write_text(text)
    assert place.read() is None
    assert place.process() is None
    assert not boot.stop(place)


def test_state_of_a_later_version(sleeper: subprocess.Popen[bytes]) -> None:
    place = state.place("b")
    place.make()
    place.write(running(here(sleeper)))
    place.state.write_text(place.state.read_text().replace('{"name"', '{"later": 1, "name"', 1))
    assert place.read() == running(here(sleeper))


def test_long_paths_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(LabError, match="too long a path for sockets"):
        state.place("b").make()


def test_without_a_runtime_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert state.folder() == tmp_path / "cache" / "lab" / "run"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert state.folder() == tmp_path / "cache" / "lab" / "run"


def test_the_runtime_folder_of_another_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert state.folder() == tmp_path / "cache" / "lab" / "run"


def test_one_at_a_time() -> None:
    code = "from bpfctl.lab import state\nwith state.locked('b'): print('in', flush=True)"
    with state.locked("b"):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        time.sleep(0.5)
        assert other.poll() is None
    said, _ = other.communicate(timeout=10)
    assert (other.returncode, said) == (0, b"in\n")


def test_waiting_for_each_other_leaves_nothing(folder: Path) -> None:
    inside: list[int] = []

    def work(number: int) -> None:
        with state.locked("b"):
            inside.append(number)
            assert len(inside) == 1
            time.sleep(0.001)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(100)))
    assert list(folder.iterdir()) == []
