# SPDX-License-Identifier: Apache-2.0
"""Against a real OpenSSH server on a loopback port, with a home folder of its own."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bpfctl.config import SshTarget
from bpfctl.errors import TargetUnreachable
from bpfctl.target import Target

from tests.unit.bpfctl.fake_daemon import FakeDaemon

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="needs sshd (Debian: openssh-server)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs root here"),
]


@dataclass
class Server:
    """An sshd that lets this user in with ~/.ssh/id_ed25519 of `home`."""

    port: int
    home: Path
    host_key: str

    def know(self, host: str = "127.0.0.1") -> None:
        line = f"[{host}]:{self.port} {self.host_key}\n"
        (self.home / ".ssh" / "known_hosts").write_text(line)


def keygen(path: Path) -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    # Privilege separation wants it, and a Debian without a running sshd lacks it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host_key = keygen(folder / "host")
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    public = keygen(home / ".ssh" / "id_ed25519")
    (folder / "authorized_keys").write_text(public + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = folder / "sshd_config"
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPidFile {folder}/pid\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin yes\nLogLevel ERROR\n"
        "AllowTcpForwarding yes\nAcceptEnv nothing\nMaxStartups 50\n"
    )
    assert SSHD is not None
    process = subprocess.Popen(
        [SSHD, "-f", configuration, "-D", "-e"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(100):
            assert process.poll() is None, process.stderr and process.stderr.read()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Server(port, home, host_key)
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture
def server(sshd: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("HOME", str(sshd.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (sshd.home / ".ssh" / "config").unlink(missing_ok=True)
    sshd.know()
    return sshd


def dial(path: Path) -> str:
    return f"{shlex.quote(sys.executable)} -m bpfd dial-stdio --socket {shlex.quote(str(path))}"


def open_target(
    server: Server, command: str, host: str = "127.0.0.1", port: int = -1
) -> Target:
    user = getpass.getuser()
    config = SshTarget(host, user, server.port if port < 0 else port, command)
    return Target.open("board", config, timeout=20)


def refused(server: Server, command: str = "true", **where: object) -> str:
    with pytest.raises(TargetUnreachable) as caught:
        open_target(server, command, **where)  # type: ignore[arg-type]
    return str(caught.value)


def test_calls_and_streams_go_through(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridges = tmp_path / "bridges"
    bridges.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(bridges))
    with FakeDaemon(f"unix:{tmp_path}/s") as fake:
        fake.target.btf[7] = bytes(range(256)) * 4096
        with open_target(server, dial(tmp_path / "s")) as target:
            assert target.info().hostname == "fake"
            (folder,) = bridges.iterdir()
            assert folder.stat().st_mode & 0o077 == 0
            with target.session("test") as session:
                assert session.id == "s-1"
        assert fake.sessions.ended.wait(10)
    assert list(bridges.iterdir()) == []


def test_ssh_configuration_is_followed(server: Server, tmp_path: Path) -> None:
    key = server.home / ".ssh" / "id_ed25519"
    elsewhere = server.home / "other_key"
    shutil.copy(key, elsewhere)
    (server.home / ".ssh" / "config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {server.port}\n"
        f"  User {getpass.getuser()}\n  IdentityFile {elsewhere}\n  IdentitiesOnly yes\n"
    )
    with FakeDaemon(f"unix:{tmp_path}/s"):
        config = SshTarget("board", command=dial(tmp_path / "s"))
        with Target.open("board", config, timeout=20) as target:
            assert target.info().hostname == "fake"


def test_proxy_jump(server: Server, tmp_path: Path) -> None:
    (server.home / ".ssh" / "config").write_text(
        f"Host far\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump near\n"
        f"Host near\n  HostName 127.0.0.1\n  Port {server.port}\n"
    )
    with FakeDaemon(f"unix:{tmp_path}/s"):
        config = SshTarget("far", getpass.getuser(), command=dial(tmp_path / "s"))
        with Target.open("board", config, timeout=20) as target:
            assert target.info().hostname == "fake"


def test_proxy_jump_in_a_circle(server: Server) -> None:
    (server.home / ".ssh" / "config").write_text(
        f"Host *\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump near\n"
    )
    with pytest.raises(TargetUnreachable, match="circle"):
        Target.open("board", SshTarget("far", getpass.getuser()), timeout=20)


def test_unknown_host_key(server: Server) -> None:
    (server.home / ".ssh" / "known_hosts").write_text("")
    said = refused(server)
    assert "is not known" in said
    assert f"ssh -p {server.port}" in said


def test_changed_host_key(server: Server, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other")
    known = server.home / ".ssh" / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {other}\n")
    said = refused(server)
    assert "is not the one in known_hosts" in said
    assert "ssh-keygen -R" in said


def test_key_that_does_not_open_the_door(server: Server, tmp_path: Path) -> None:
    (server.home / ".ssh" / "config").write_text(
        f"Host *\n  IdentityFile {tmp_path}/wrong\n  IdentitiesOnly yes\n"
    )
    keygen(tmp_path / "wrong")
    assert "does not let" in refused(server)


def test_command_is_missing(server: Server) -> None:
    said = refused(server, "bpfd-that-is-not-there dial-stdio")
    assert "has no command 'bpfd-that-is-not-there'" in said
    assert "not found" in said
    assert "--command" in said


def test_daemon_is_not_running_there(server: Server, tmp_path: Path) -> None:
    said = refused(server, dial(tmp_path / "none"))
    assert "cannot connect to" in said
    assert "bpfd serve" in said


def test_nobody_listens(server: Server) -> None:
    assert "no SSH server listens" in refused(server, port=1)


def test_name_without_address(server: Server) -> None:
    said = refused(server, host="no-such-host.invalid")
    assert "no-such-host.invalid" in said
