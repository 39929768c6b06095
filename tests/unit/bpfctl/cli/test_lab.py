# SPDX-License-Identifier: Apache-2.0
"""`bpfctl lab`: what reaches the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bpfctl import lab
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.cli.root import run
from bpfctl.lab import state, work


@pytest.fixture(autouse=True)
def _folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFIG", "CACHE"):
        monkeypatch.setenv(f"BPFCTL_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], dict[str, Any]]]:
    """What `lab run` asked for; "bad" boards fail with their number."""
    found: list[tuple[str, list[str], dict[str, Any]]] = []

    def record(name: str, words: list[str], **rest: Any) -> int:
        found.append((name, words, rest))
        return int(name.removeprefix("bad")) if name.startswith("bad") else 0

    monkeypatch.setattr(work, "run", record)
    return found


def test_a_command_stands_behind_two_dashes(ran: list[Any]) -> None:
    assert run(["lab", "run", "--in-guest", "a", "b", "--", "ls", "--all", "--", "x"]) == 0
    assert [(name, words) for name, words, _ in ran] == [
        ("a", ["ls", "--all", "--", "x"]),
        ("b", ["ls", "--all", "--", "x"]),
    ]
    assert all(rest["in_guest"] for _, _, rest in ran)


def test_all_boards_run_and_the_first_failure_counts(ran: list[Any]) -> None:
    assert run(["lab", "run", "a", "bad7", "bad9", "c", "--", "true"]) == 7
    assert [name for name, _, _ in ran] == ["a", "bad7", "bad9", "c"]


def test_options_become_wishes(ran: list[Any]) -> None:
    assert (
        run(["lab", "run", "--android", "--memory", "96", "--wait", "2m", "a", "--", "x"]) == 0
    )
    assert ran[0][2]["wishes"] == lab.Wishes(memory=96, android=True)
    assert ran[0][2]["timeout"] == 120


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "a"], "say boards, then -- and a command"),
        (["run", "--", "x"], "say boards, then -- and a command"),
        (["up"], "Missing argument 'BOARD...'"),
        (["up", "a", "b", "--name", "c"], "--name is for one board"),
        (["down"], "name boards, or say --all"),
        (["down", "a", "--all"], "name boards, or say --all"),
        (["up", "arm64-6.12", "--wait", "soon"], "'soon' is not a time"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert run(["lab", *words]) == 2
    assert said in capsys.readouterr().err


def test_boards_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lab", "up", "arm64-6.13"]) == 4
    assert "did you mean arm64-6.1" in capsys.readouterr().err
    assert run(["lab", "ssh", "arm64-6.12", "true"]) == 4
    assert "there is no running board 'arm64-6.12'" in capsys.readouterr().err
    assert run(["lab", "down", "arm64-6.12"]) == 4
    assert run(["lab", "down", "--all"]) == 0


def test_the_list_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lab", "list", "-o", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("name,recipe,summary,arch,suite,kernel,state")


def test_a_suite_that_has_moved_on_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = state.Process(1, 2, "boot")

    def up(name: str, *_: Any, **__: Any) -> lab.Board:
        return lab.Board(
            state.Running(name, name, "arm64", "7.4.1+deb14-arm64", 256, 1, process, 40001)
        )

    monkeypatch.setattr(lab, "up", up)
    assert run(["lab", "up", "arm64-7.2"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "arm64-7.2: Linux 7.4.1+deb14-arm64, root@127.0.0.1:40001\n"
    assert "sid has moved on: arm64-7.2 now runs Linux 7.4.1+deb14-arm64" in captured.err


def test_a_board_may_be_had_without_a_daemon(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def up(name: str, *_: Any, **__: Any) -> lab.Board:
        raise BootstrapFailed(name, "the daemon does not start", "look at its log")

    monkeypatch.setattr(lab, "up", up)
    assert run(["lab", "up", "arm64-6.1"]) == 1
    assert capsys.readouterr().err == (
        "bpfctl: the board runs without a daemon with --no-daemon\n"
        "bpfctl: error: target arm64-6.1: the daemon does not start; look at its log\n"
    )
