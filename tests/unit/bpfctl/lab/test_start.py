# SPDX-License-Identifier: Apache-2.0
"""Coming and going of boards, with a process that stands for QEMU."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bpfctl import config, lab
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.lab import boot, image, listing, start, state, work
from bpfctl.lab.board import Board
from bpfctl.lab.qemu import Hardware
from bpfctl.progress import Progress

from tests.unit.bpfctl.adb.fake_server import FakeServer

FAKE = """
import sys, time
console = sys.argv[1]
with open(console, "w") as file:
    file.write("BOARD-READY 6.12.9-cloud-arm64 1.50\\n")
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Hardware]]:
    """Folders of its own; boards are processes that say that they are ready."""
    for name in ("CONFIG", "CACHE"):
        monkeypatch.setenv(f"BPFCTL_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path}/none")
    monkeypatch.delenv("BPFCTL_TARGET", raising=False)
    running: list[subprocess.Popen[bytes]] = []
    seen: list[Hardware] = []

    def begin(
        _: object,
        __: object,
        ___: object,
        hardware: Hardware,
        place: state.Place,
        other: object,
    ) -> tuple[state.Process, Hardware]:
        seen.append(hardware)
        running.append(subprocess.Popen([sys.executable, "-c", FAKE, str(place.console)]))
        process = state.Process.find(running[-1].pid)
        assert process is not None
        adb = 50001 if hardware.adb_port else 0
        return process, replace(hardware, ssh_port=50000, adb_port=adb)

    monkeypatch.setattr(boot, "start", begin)
    monkeypatch.setattr(boot, "check_program", lambda _: None)
    monkeypatch.setattr(
        image, "build", lambda *_, **__: image.Image(tmp_path, "6.12.9-cloud-arm64")
    )
    monkeypatch.setattr(Board, "wait_ready", _console_only)
    yield seen
    for process in running:
        process.kill()
        process.wait()


def _console_only(board: Board, timeout: float, *, progress: Progress) -> float:
    place = state.place(board.name)
    return boot.wait_ready(place, board.running.process, timeout, progress=progress)


def up(recipe: str = "arm64-6.12", /, **wishes: Any) -> Board:
    return lab.up(recipe, lab.Wishes(**wishes), daemon=False)


def test_a_board_is_a_target_while_it_runs(started: list[Hardware]) -> None:
    with up(memory=192) as board:
        assert config.load_targets() == {"arm64-6.12": board.ssh}
        assert board.ssh.known_hosts == str(state.place("arm64-6.12").known_hosts)
        assert (
            Path(board.ssh.known_hosts).read_text().startswith("[127.0.0.1]:50000 ssh-ed25519")
        )
        assert board.alive
        assert [each.name for each in lab.boards()] == ["arm64-6.12"]
        assert lab.board("arm64-6.12").running == board.running
        assert (started[0].memory, started[0].cpus) == (192, 1)
    assert config.load_targets() == {}
    assert not board.alive
    assert lab.boards() == []
    assert not state.place("arm64-6.12").folder.exists()


def test_a_start_tells_that_it_goes_on() -> None:
    told: list[tuple[str, int, int]] = []
    with lab.up("arm64-6.12", daemon=False, progress=lambda *words: told.append(words)):
        assert set(told) == {("boot arm64-6.12", 0, 0)}


def test_over_adb_where_it_has_adbd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{tmp_path}/adb")
    with FakeServer(tmp_path / "adb") as server:
        server.answers["host:disconnect:127.0.0.1:50001"] = lambda request: request.okay("gone")
        with up(android=True, name="phone") as board:
            assert config.load_targets() == {"phone": config.AdbTarget("127.0.0.1:50001")}
            assert board.ssh_port == 50000
            assert server.requests == []
        assert server.requests == ["host:disconnect:127.0.0.1:50001"]
    with up(android=True):
        pass
    assert lab.boards() == []


def test_a_second_up_gives_the_same_board(started: list[Hardware]) -> None:
    with up(memory=192) as board:
        assert up().running == board.running
        assert up(memory=192).running == board.running
        assert len(started) == 1
        other: list[tuple[str, dict[str, Any], str]] = [
            ("arm64-6.12", {"memory": 256}, "is up already, with 192 MiB"),
            ("arm64-6.12", {"cpus": 2}, "is up already, with 1 CPUs"),
            ("arm64-6.12", {"android": True}, "is up already, not of that look"),
            ("arm64-6.1", {"name": "arm64-6.12"}, r"is up already, of arm64-6\.12"),
        ]
        for name, wishes, said in other:
            with pytest.raises(lab.LabError, match=said):
                up(name, **wishes)


def test_a_target_of_somebody_is_not_overwritten(started: list[Hardware]) -> None:
    own = config.SshTarget("127.0.0.1", "root", 22)
    config.save_targets({"arm64-6.12": own})
    with pytest.raises(lab.LabError, match="is no virtual board"):
        up()
    assert started == []
    with lab.up("arm64-6.12", register=False, daemon=False):
        assert config.load_targets() == {"arm64-6.12": own}
    assert config.load_targets() == {"arm64-6.12": own}


def test_a_target_that_was_changed_stays() -> None:
    changed = config.SshTarget("board.lan")
    with up():
        config.save_targets({"arm64-6.12": changed})
    assert config.load_targets() == {"arm64-6.12": changed}


def test_what_a_dead_board_left_is_taken_over(started: list[Hardware]) -> None:
    first = up()
    first.running.process.end(signal.SIGKILL, 5)
    with pytest.raises(NotFound, match="there is no running board"):
        lab.board("arm64-6.12")
    with up() as second:
        assert second.running.process != first.running.process
        assert len(started) == 2
        first.down()
        assert second.alive


def test_boards_of_before_a_reboot_are_forgotten(tmp_path: Path) -> None:
    """What runs is noted in a folder that a reboot empties; targets stay."""
    first, second = up(name="a"), up(name="b")
    for board in (first, second):
        board.running.process.end(signal.SIGKILL, 5)
    shutil.rmtree(tmp_path / "bpfctl")
    assert set(config.load_targets()) == {"a", "b"}
    lab.down("a")
    assert set(config.load_targets()) == {"b"}
    own = config.SshTarget("127.0.0.1", "root", 50000)
    with config.changing_targets() as targets:
        targets["mine"] = own
    lab.down_all()
    assert config.load_targets() == {"mine": own}
    with pytest.raises(NotFound):
        lab.down("mine")


def test_down_by_name() -> None:
    board = up(name="b")
    lab.down("b")
    assert not board.alive
    assert config.load_targets() == {}
    with pytest.raises(NotFound):
        lab.down("b")
    dead = up(name="b")
    dead.running.process.end(signal.SIGKILL, 5)
    lab.down("b")
    assert config.load_targets() == {}
    assert not state.place("b").folder.exists()


def test_a_board_that_does_not_come_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[state.Running] = []

    def never(board: Board, timeout: float, *, progress: Progress) -> float:
        found.append(board.running)
        raise lab.LabError("not up")

    monkeypatch.setattr(Board, "wait_ready", never)
    with pytest.raises(lab.LabError, match="not up"):
        up()
    assert not found[0].process.alive
    assert not state.place("arm64-6.12").folder.exists()
    assert config.load_targets() == {}


def test_what_ends_the_wait(tmp_path: Path) -> None:
    with up() as board:
        place, process = state.place(board.name), board.running.process
        assert boot.wait_ready(place, process, 5) == 1.5
        said = place.console.read_bytes()
        with pytest.raises(lab.LabError, match=r"not up after 0\.1 s.*its console is empty"):
            boot.wait_ready(place, process, 0.1, offset=len(said))
        place.console.write_bytes(said + b"x\r\nKernel panic - not syncing: No init\r\nend\r\n")
        with pytest.raises(
            lab.LabError, match=r"panics: No init; its console ends with: x \| Ker"
        ):
            boot.wait_ready(place, process, 5, offset=len(said))
        place.console.write_bytes(b"")
        process.end(signal.SIGKILL, 5)
        with pytest.raises(lab.LabError, match="QEMU ended before the board was up"):
            boot.wait_ready(place, process, 5)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"memory": 32}, "memory: 32 MiB is not between"),
        ({"cpus": 9}, "cpus: 9 is not between"),
        ({"rtc": "yesterday"}, "rtc: 'yesterday' is not like"),
        ({"password": "a\n"}, "password: it has characters"),
        ({"name": "a b"}, "target name"),
        ({"name": "a'b"}, "target name"),
        ({"join": "arm64-6.12"}, "cannot be joined to itself"),
    ],
)
def test_wishes_that_cannot_be(
    started: list[Hardware], wishes: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        up(**wishes)
    assert started == []


def test_joining_takes_a_board_with_a_free_end() -> None:
    with pytest.raises(NotFound):
        up(name="b", join="a")
    with up(name="a"), up(name="b", join="a") as second:
        assert second.running.joined == "a"
        with pytest.raises(lab.LabError, match="b is joined to a already"):
            up(name="c", join="b")
        with pytest.raises(lab.LabError, match="its wire has no free end"):
            second.wire.fileno()


def test_boards_as_rows() -> None:
    with up(name="mine", memory=128) as board:
        rows = {row["name"]: row for row in listing.rows()}
    assert "arm64-6.12" not in rows
    assert rows["mine"] | {"uptime": 0} == {
        "name": "mine",
        "recipe": "arm64-6.12",
        "summary": "64-bit ARM, Debian 13",
        "arch": "arm64",
        "suite": "trixie",
        "kernel": "6.12.9-cloud-arm64",
        "state": "up",
        "memory": 128,
        "cpus": 1,
        "quirks": ["no kprobe.multi: the kernel has no fprobe"],
        "ssh": 50000,
        "adb": None,
        "android": False,
        "joined": None,
        "uptime": 0,
        "pid": board.running.process.pid,
        "resident": rows["mine"]["resident"],
    }
    off = next(row for row in listing.rows() if row["name"] == "amd64-6.1")
    assert off["state"] == "off"
    assert off["kernel"] == "6.1"
    assert list(off) == list(rows["mine"])


@pytest.fixture
def no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_as_target", lambda found, *_: found)


@pytest.mark.usefixtures("no_daemon")
def test_work_for_a_board_that_is_off(started: list[Hardware]) -> None:
    code = "import os, sys; sys.exit(os.environ['BPFCTL_TARGET'] == 'arm64-6.12' and 5)"
    assert work.run("arm64-6.12", [sys.executable, "-c", code]) == 5
    assert lab.boards() == []
    with pytest.raises(FileNotFoundError):
        work.run("arm64-6.12", ["/no/such/program"])
    assert lab.boards() == []
    assert work.run("arm64-6.12", ["sh", "-c", "kill -9 $$"]) == 137
    assert len(started) == 3


@pytest.mark.usefixtures("no_daemon")
def test_work_for_a_board_that_is_on(started: list[Hardware]) -> None:
    with up(name="mine"):
        assert work.run("mine", ["true"]) == 0
        assert len(started) == 1
        assert [each.name for each in lab.boards()] == ["mine"]
