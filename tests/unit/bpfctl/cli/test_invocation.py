# SPDX-License-Identifier: Apache-2.0
"""Commands on several targets at once: rows, errors, exit codes."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bpfctl import errors, groups
from bpfctl.cli import failures
from bpfctl.cli.root import run

import bpfd.errors as daemon
from tests.unit.bpfctl.fake_daemon import FakeDaemon


@pytest.fixture
def fakes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[FakeDaemon, FakeDaemon]]:
    monkeypatch.setenv("BPFCTL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("BPFCTL_TARGET", raising=False)
    monkeypatch.setenv("BPFCTL_SOCKET", str(tmp_path / "none"))
    for name in ("one", "two", "gone"):
        assert run(["target", "add", name, "--local", str(tmp_path / name)]) == 0
    with FakeDaemon(f"unix:{tmp_path}/one") as one, FakeDaemon(f"unix:{tmp_path}/two") as two:
        one.target.info.hostname, two.target.info.hostname = "h1", "h2"
        yield one, two


Fakes = tuple[FakeDaemon, FakeDaemon]


def test_records_of_several(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["target", "info", "two,one", "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["target"], row["hostname"]) for row in rows] == [("two", "h2"), ("one", "h1")]
    assert next(iter(rows[0])) == "target"
    assert run(["-t", "one", "target", "info", "-o", "json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["hostname"] == "h1"
    assert "target" not in alone


def test_a_group(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert run(["target", "add", name, "--group", "edge"]) == 0
    capsys.readouterr()
    assert run(["target", "info", "-t", "group:edge"]) == 0
    out = capsys.readouterr().out
    assert out.index("one:\n  hostname") < out.index("two:\n  hostname")
    assert run(["target", "list", "-o", "json"]) == 0
    listed = {row["name"]: row["groups"] for row in json.loads(capsys.readouterr().out)}
    assert listed == {"local": [], "one": ["edge"], "two": ["edge"], "gone": []}
    assert run(["target", "remove", "two"]) == 0
    assert groups.load_groups() == {"edge": ["one"]}
    assert run(["target", "remove", "one", "--group", "edge"]) == 0
    assert groups.load_groups() == {}
    assert run(["target", "add", "none", "--group", "edge"]) == 4


def test_a_failure_is_told_by_name_and_the_others_go_on(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["target", "info", "-t", "gone,one", "-o", "jsonl"]) == 5
    said = capsys.readouterr()
    assert [json.loads(line)["target"] for line in said.out.splitlines()] == ["one"]
    first, last = said.err.splitlines()
    assert first.startswith("bpfctl: error: target gone: ")
    assert last == "bpfctl: done on one; failed on gone"


def test_equal_failures_are_told_once(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> None:
    for fake in fakes:
        fake.target.error = daemon.PermissionMissing("CAP_X", action="looking")
    capsys.readouterr()
    assert run(["target", "info", "-t", "one,two"]) == 6
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "bpfctl: error: one, two: looking needs CAP_X",
        "bpfctl: failed on one, two",
    ]


def test_a_name_that_is_not_there_is_told_before_anything_is_done(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["unload", "x", "-t", "one,tow"]) == 4
    assert "did you mean two" in capsys.readouterr().err
    assert fakes[0].target.calls == 0


@pytest.mark.parametrize(
    "arguments", [["events", "x"], ["run", "x.bpf.c"], ["map", "dump", "x"], ["target", "up"]]
)
def test_streams_are_of_one_target(
    fakes: Fakes, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "-t", "one,two"]) == 2
    assert "'one,two' names 2 targets (one, two), and this is for one" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("command", [["program", "list"], ["unload", "x"], ["doctor"]])
def test_an_interrupt_ends_the_wait_for_all(
    fakes: Fakes, command: list[str], tmp_path: Path
) -> None:
    for fake in fakes:
        fake.target.hold = threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-m", "bpfctl", *command, "-t", "one,two"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not all(fake.target.calls for fake in fakes):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate(timeout=20)[1]
        assert process.returncode == 130
        assert all(fake.target.cancelled.wait(10) for fake in fakes)
    finally:
        process.kill()
        for fake in fakes:
            assert fake.target.hold
            fake.target.hold.set()


def test_the_worst_exit_code() -> None:
    assert failures.worst([]) == 0
    assert failures.worst([0, 3, 0]) == 3
    assert failures.worst([3, 5]) == failures.worst([5, 3]) == 5
    assert failures.worst([8, 1, 6]) == 1
    codes = {*failures.EXIT_CODES.values()}
    assert set(failures.WORST_FIRST) == codes
    for one, other in itertools.combinations(failures.WORST_FIRST, 2):
        assert failures.worst([other, one]) == one


def test_a_refusal_names_the_targets(capsys: pytest.CaptureFixture[str]) -> None:
    refused = failures.Refused(errors.VerifierRejected("p", "0: (95) exit\nbad"), b"")
    assert failures.show_each({"one": refused}, []) == 3
    assert "bpfctl: error: one: the verifier refused p" in capsys.readouterr().err
