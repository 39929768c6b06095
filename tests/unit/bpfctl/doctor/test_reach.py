# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace

import pytest
from bpfctl.config import AdbTarget, LocalTarget, SshTarget, TargetConfig, TcpTarget
from bpfctl.doctor import Check, reach, usable
from bpfctl.errors import ApiMismatch, BpfctlError, TargetUnreachable


class Shell:
    """Answers `true` with a status."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.closed = False

    def run(self, script: str, *, timeout: float) -> SimpleNamespace:
        assert script == "true"
        return SimpleNamespace(status=self.status, words="no shell here")

    def close(self) -> None:
        self.closed = True


def steps(entry: TargetConfig, error: BpfctlError) -> list[Check]:
    return list(reach.checks("board", entry, error))


def test_a_socket() -> None:
    target, daemon = steps(
        LocalTarget("/s"), TargetUnreachable("board", "nobody listens", "go")
    )
    assert (target.status, "local /s" in target.reason) == ("ok", True)
    assert (daemon.check, daemon.status, daemon.reason, daemon.remedy) == (
        "daemon",
        "missing",
        "nobody listens",
        "go",
    )
    assert not usable([target, daemon])


def test_a_remedy_where_the_error_has_none() -> None:
    error = TargetUnreachable("board", "it broke")
    tcp = TcpTarget("h", 1, "/ca", "/cert", "/key")
    assert "--listen" in steps(tcp, error)[-1].remedy
    assert "bpfd serve" in steps(LocalTarget("/s"), error)[-1].remedy


def test_something_else_answers() -> None:
    error = ApiMismatch("board", "it does not speak bpfd.v1", "install bpfd")
    assert steps(LocalTarget("/s"), error)[-1].remedy == "install bpfd"


@pytest.mark.parametrize("entry", [SshTarget("h"), AdbTarget("serial")])
@pytest.mark.parametrize("status", [0, 127])
def test_a_login_that_works_is_told_from_the_daemon(
    entry: TargetConfig, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(status)
    monkeypatch.setattr("bpfctl.bootstrap.shell.open_shell", lambda *_: shell)
    found = steps(entry, TargetUnreachable("board", "the daemon is not running"))
    assert shell.closed
    names = [(check.check, check.status) for check in found]
    login = f"{entry.transport} login"
    if status == 0:
        assert names == [("target", "ok"), (login, "ok"), ("daemon", "missing")]
        assert "bpfctl target up board" in found[-1].remedy
    else:
        assert names == [("target", "ok"), (login, "missing")]
        assert "no shell here" in found[-1].reason


def test_a_login_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TargetUnreachable("board", "h does not let root in", "set a key up")

    monkeypatch.setattr("bpfctl.bootstrap.shell.open_shell", refuse)
    found = steps(SshTarget("h", "root"), TargetUnreachable("board", "anything"))
    assert [check.check for check in found] == ["target", "ssh login"]
    assert found[-1].reason == "h does not let root in"
    assert found[-1].remedy == "set a key up"
