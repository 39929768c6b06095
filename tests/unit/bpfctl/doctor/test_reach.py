# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.config import AdbTarget, LocalTarget, SshTarget, TargetConfig, TcpTarget
from bpfctl.doctor import Check, reach, usable
from bpfctl.errors import ApiMismatch, BpfctlError, TargetUnreachable
from bpfctl.target import Target


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
def test_a_login_that_works_is_told_from_the_daemon(entry: TargetConfig) -> None:
    found = steps(entry, TargetUnreachable("board", "the daemon is not running"))
    assert [(check.check, check.status) for check in found] == [
        ("target", "ok"),
        (f"{entry.transport} login", "ok"),
        ("daemon", "missing"),
    ]
    assert "bpfctl target up board" in found[-1].remedy


@pytest.mark.parametrize("entry", [SshTarget("h", "root"), AdbTarget("serial")])
def test_a_login_that_is_refused(entry: TargetConfig) -> None:
    error = TargetUnreachable("board", "it does not let root in", before_daemon=True)
    found = steps(entry, error)
    assert [check.check for check in found] == ["target", f"{entry.transport} login"]
    assert found[-1].reason == "it does not let root in"
    assert ("ssh root@h" in found[-1].remedy) or ("adb devices" in found[-1].remedy)
    assert (
        steps(entry, TargetUnreachable("board", "no", "a key", before_daemon=True))[-1].remedy
        == "a key"
    )


def test_where_a_connection_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise TargetUnreachable("board", "it does not let root in")

    with pytest.raises(TargetUnreachable) as raised:
        Target.open("board", LocalTarget(str(tmp_path / "none")))
    assert not raised.value.before_daemon
    monkeypatch.setattr("bpfctl.target.open_connection", refuse)
    with pytest.raises(TargetUnreachable) as raised:
        Target.open("board", SshTarget("h"))
    assert raised.value.before_daemon
