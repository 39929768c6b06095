# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from bpfctl.config import SshTarget
from bpfctl.errors import TargetUnreachable
from bpfctl.ssh import settings
from bpfctl.ssh.settings import Settings, read


@pytest.fixture(params=["ssh", "paramiko"])
def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home folder, with and without an ssh to ask."""
    if request.param == "ssh" and shutil.which("ssh") is None:
        pytest.skip("no ssh here")
    if request.param == "paramiko":
        monkeypatch.setattr(settings, "_from_ssh", lambda *_: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def configured(home: Path, text: str, config: SshTarget | None = None) -> Settings:
    (home / ".ssh" / "config").write_text(text)
    return read("t", config or SshTarget("board"))


def test_without_a_file(home: Path) -> None:
    found = read("t", SshTarget("board.lan", "root"))
    assert (found.host, found.port, found.user) == ("board.lan", 22, "root")
    assert found.key_place == "board.lan"
    assert found.known_hosts[0] == f"{home}/.ssh/known_hosts"
    assert found.identities == ()
    assert found.strict == "ask"
    assert found.methods == ("publickey", "keyboard-interactive", "password")
    assert found.jumps == ()
    assert found.proxy_command == ""
    assert found.agent == ""


def test_what_files_say(home: Path) -> None:
    key = home / "key"
    key.touch()
    found = configured(
        home,
        f"Host board\n HostName 10.0.0.7\n Port 2222\n User pi\n IdentityFile {key}\n"
        " IdentityFile ~/nowhere\n IdentitiesOnly yes\n HostKeyAlias alias\n"
        " UserKnownHostsFile ~/a ~/b\n StrictHostKeyChecking accept-new\n BatchMode yes\n"
        " ServerAliveInterval 7\n ConnectTimeout 3\n AddressFamily inet6\n Compression yes\n"
        " PasswordAuthentication no\n NumberOfPasswordPrompts 1\n IdentityAgent ~/agent\n"
        " ProxyJump a,b:2\n",
    )
    assert (found.host, found.port, found.user) == ("10.0.0.7", 2222, "pi")
    assert found.where == "10.0.0.7:2222"
    assert found.identities == (str(key),)
    assert not found.chosen
    assert found.only_identities
    assert found.key_place == "[alias]:2222"
    assert found.known_hosts == (f"{home}/a", f"{home}/b")
    assert found.strict == "accept-new"
    assert found.batch
    assert found.alive_seconds == 7
    assert found.connect_seconds == 3
    assert found.family is socket.AF_INET6
    assert found.compression
    assert found.methods == ("publickey", "keyboard-interactive")
    assert found.attempts == 1
    assert found.agent == f"{home}/agent"
    assert found.jumps == ("a", "b:2")


def test_the_target_goes_before_the_files(home: Path) -> None:
    own = home / "own"
    own.touch()
    found = configured(
        home,
        "Host *\n Port 2222\n User pi\n UserKnownHostsFile ~/a\n",
        SshTarget("board", "root", 7, identity=str(own), known_hosts="/k"),
    )
    assert (found.port, found.user) == (7, "root")
    assert found.identities[0] == str(own)
    assert found.chosen
    assert found.known_hosts == ("/k",)
    assert found.system_known_hosts == ()


def test_a_proxy_command_with_tokens(home: Path) -> None:
    found = configured(
        home, "Host board\n HostName h\n Port 5\n User u\n ProxyCommand nc -X %h %p %r %n %%\n"
    )
    assert found.proxy_command.startswith("nc -X h 5 u board")
    assert configured(home, "Host *\n ProxyCommand none\n").proxy_command == ""


@pytest.mark.parametrize("home", ["ssh"], indirect=True)
def test_include_and_match(home: Path) -> None:
    (home / "more").write_text("Host board\n Port 2222\nMatch host board exec true\n User pi\n")
    found = configured(home, f"Include {home}/mor*\nHost *\n User last\n")
    assert (found.port, found.user) == (2222, "pi")


def test_a_mistake_names_the_file(home: Path) -> None:
    with pytest.raises(TargetUnreachable, match=r"\.ssh/config"):
        configured(home, "Host board\n Port\nMatch\n")


def test_the_agent_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/a/socket")
    monkeypatch.setenv("OTHER", "/another")
    assert read("t", SshTarget("h")).agent == "/a/socket"
    assert configured(home, "Host *\n IdentityAgent none\n").agent == ""
    assert configured(home, "Host *\n IdentityAgent SSH_AUTH_SOCK\n").agent == "/a/socket"
