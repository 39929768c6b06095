# SPDX-License-Identifier: Apache-2.0
"""Bars appear where somebody sees them, and never change what is passed on."""

from __future__ import annotations

import io

import pytest
from bpfctl.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal as standard error; not a fixture: capturing starts anew after those."""
    found = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", found)
    return found


def passed_on() -> list[bytes]:
    pieces = [b"a\n", b"b\nc\n", b"d\n"]
    counted = progress.counted(pieces, lambda piece: piece.count(b"\n"), 4, "entries")
    assert list(counted) == pieces
    return pieces


def test_no_bar_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    passed_on()
    assert capsys.readouterr().err == ""


def test_no_bar_for_what_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    monkeypatch.setattr(progress, "DELAY", 3600.0)
    passed_on()
    assert stderr.getvalue() == ""


def test_a_bar_for_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    passed_on()
    assert "entries" in stderr.getvalue()
