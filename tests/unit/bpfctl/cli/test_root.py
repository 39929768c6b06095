# SPDX-License-Identifier: Apache-2.0
"""The command line without a daemon: help, usage errors, exit codes, start-up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from bpfctl.cli.lazy import LazyGroup
from bpfctl.cli.root import COMMANDS, root, run

import bpfd.errors as daemon
from tests.unit.bpfctl.fake_daemon import FakeDaemon


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BPFCTL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("BPFCTL_SOCKET", str(tmp_path / "s"))
    monkeypatch.delenv("BPFCTL_TARGET", raising=False)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(f"unix:{tmp_path}/s") as fake:
        yield fake


def commands(
    group: LazyGroup, context: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, LazyGroup):
            yield from commands(command, context, (*path, name))


def every_command() -> list[tuple[tuple[str, ...], click.Command]]:
    assert isinstance(root, LazyGroup)
    return list(commands(root, click.Context(root)))


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_every_command_has_help(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    assert " ".join(path) in capsys.readouterr().out


def test_short_help_is_given_for_each() -> None:
    assert all(entry.help.endswith(".") for entry in COMMANDS.values())
    assert all(command.help for _, command in every_command())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mpa"], "Did you mean map?"),
        (["map", "get"], "Missing argument 'MAP'"),
        (["map", "get", "x"], "Missing argument"),
        (["map", "set", "x"], "say KEY and VALUE"),
        (["map", "delete", "x"], "say KEY..., or --all"),
        (["-o", "xml", "map", "list"], "'xml' is not one of"),
        (["run", "x.bpf.c", "--duration", "soon"], "write 10, 1.5s"),
        (["target", "add", "x"], "say one of --local, --ssh, --adb and --tcp"),
        (["target", "add", "x", "--tcp", "a:1"], "needs --ca, --cert and --key"),
        (["target", "add", "a b", "--local"], "letters, digits"),
        (["pki", "issue", "x"], "say --server or --client"),
    ],
)
def test_wrong_usage_is_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (daemon.KernelError("BPF_MAP_CREATE", 12), 1),
        (daemon.InvalidArgument("x", "y"), 2),
        (daemon.VerifierRejected("p", "log\nR1 is bad"), 3),
        (daemon.NotFound("map", "x"), 4),
        (daemon.PermissionMissing("role operator", "role viewer"), 6),
        (daemon.NotSupported("fentry"), 7),
        (daemon.AttachBusy("XDP on eth0", "program 7"), 8),
        (daemon.LimitExceeded("objects", 5), 8),
        (daemon.LeaseExpired("s"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_kinds_of_errors_have_their_exit_codes(
    fake: FakeDaemon,
    error: daemon.BpfdError,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake.target.error = error
    assert run(["target", "info"]) == code
    said = capsys.readouterr().err
    assert said.startswith("bpfctl: error: ")
    assert str(error).splitlines()[0] in said
    assert "Traceback" not in said


def test_no_daemon_is_5(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["object", "list"]) == 5
    assert "start the daemon" in capsys.readouterr().err


def test_unknown_target_is_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-t", "board", "object", "list"]) == 4
    assert "target add" in capsys.readouterr().err


def test_options_before_and_behind_the_command_are_the_same(
    fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"unix:{tmp_path}/s"
    assert run(["-t", address, "-o", "json", "target", "info"]) == 0
    before = capsys.readouterr().out
    assert run(["target", "info", "-o", "json", "-t", address]) == 0
    assert capsys.readouterr().out == before
    assert '"hostname": "fake"' in before


def test_targets_can_be_added_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["target", "add", "board", "--ssh", "root@board.lan:2222"]) == 0
    assert run(["target", "add", "board", "--ssh", "x"]) == 2
    assert run(["target", "add", "board", "--ssh", "x", "--replace"]) == 0
    capsys.readouterr()
    assert run(["target", "list", "-o", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "board,ssh,x,[]"
    assert run(["target", "remove", "board"]) == 0
    assert run(["target", "remove", "board"]) == 4


def bpfctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bpfctl", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (
            ("--help",),
            {"grpc", "numpy", "rich", "paramiko", "yaml", "elftools", "cryptography"},
        ),
        (("object", "list"), {"numpy", "rich", "paramiko", "yaml", "elftools", "cryptography"}),
        (
            ("run", "tests/unit/bpfctl/none.bpf.c"),
            {"numpy", "rich", "paramiko", "yaml", "elftools", "cryptography"},
        ),
    ],
)
def test_commands_import_only_what_they_need(
    fake: FakeDaemon, arguments: tuple[str, ...], unwanted: set[str]
) -> None:
    lines = bpfctl(*arguments).stderr.splitlines()
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in lines
        if line.startswith("import time:")
    }
    assert "bpfctl" in imported
    assert not imported & unwanted


def test_reader_that_goes_away_ends_quietly(fake: FakeDaemon) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bpfctl", "target", "info"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""
