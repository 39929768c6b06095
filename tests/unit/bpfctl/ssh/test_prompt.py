# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.ssh.prompt import Prompt, Unanswered


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "BPFCTL_SSH_ASKPASS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bpfctl.ssh.prompt._at_terminal", lambda: False)


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "askpass"
    path.write_text('#!/bin/sh\necho "you said: $1"\n')
    path.chmod(0o755)
    return str(path)


def test_nobody_is_there() -> None:
    prompt = Prompt()
    assert not prompt.possible
    for ask in (prompt.secret, prompt.visible):
        with pytest.raises(Unanswered):
            ask("? ")


@pytest.mark.parametrize(
    ("environment", "asks"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "w"}, True),
        ({"SSH_ASKPASS_REQUIRE": "force"}, True),
        ({"SSH_ASKPASS_REQUIRE": "prefer"}, False),
        ({"SSH_ASKPASS_REQUIRE": "prefer", "DISPLAY": ":0"}, True),
        ({"SSH_ASKPASS_REQUIRE": "never", "DISPLAY": ":0"}, False),
    ],
)
def test_when_the_program_is_asked(
    monkeypatch: pytest.MonkeyPatch, program: str, environment: dict[str, str], asks: bool
) -> None:
    monkeypatch.setenv("SSH_ASKPASS", program)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Prompt().possible is asks
    if asks:
        assert Prompt().secret("hello") == "you said: hello"


def test_our_own_variable_is_enough(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setenv("BPFCTL_SSH_ASKPASS", program)
    assert Prompt().visible("hello") == "you said: hello"
    assert not Prompt(batch=True).possible


def test_a_program_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for program, says in (("/bin/false", ""), ("/nonexistent", "No such file")):
        monkeypatch.setenv("BPFCTL_SSH_ASKPASS", program)
        with pytest.raises(Unanswered):
            Prompt().secret("?")
        assert says in capsys.readouterr().err
