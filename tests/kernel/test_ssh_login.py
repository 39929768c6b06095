# SPDX-License-Identifier: Apache-2.0
"""Logging in as ssh users expect it, against real OpenSSH servers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.command_line import Finished
from tests.kernel.far import SSHD, Far, far_machine, keygen
from tests.kernel.terminal import Terminal, at_terminal

pytestmark = pytest.mark.skipif(SSHD is None, reason="needs sshd (Debian: openssh-server)")

LET_IN = "has no command 'bpfd'"
"""What a command says once it is logged in: no daemon is there."""

PASSWORD = "correct horse"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """A machine that takes the key in ~/.ssh/id_ed25519."""
    with far_machine(tmp_path) as found:
        yield found


def write_shadow(folder: Path) -> None:
    """A file `shadow` in which root has the password."""
    hashed = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], q($6$saltsalt$))", PASSWORD],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (folder / "shadow").write_text(f"root:{hashed}:19000:0:99999:7:::\n")


def with_password(folder: Path) -> str:
    """What gives a machine's root the password."""
    hashed = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], q($6$saltsalt$))", PASSWORD],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (folder / "shadow").write_text(f"root:{hashed}:19000:0:99999:7:::\n")
    return f"mount --bind {folder}/shadow /etc/shadow"


@pytest.fixture
def far_by_password(tmp_path: Path) -> Iterator[Far]:
    """A machine that takes root's password, and no key of ours."""
    with far_machine(
        tmp_path,
        with_password(tmp_path),
        settings=("PasswordAuthentication=yes", "AuthorizedKeysFile=none"),
    ) as found:
        yield found


def ask(far: Far, *arguments: str, **environment: str) -> Finished:
    """A command that needs the target, without anybody to ask."""
    return far.line.run("-t", "far", "object", "list", *arguments, environment=environment)


@contextlib.contextmanager
def typed(far: Far, **environment: str) -> Iterator[Terminal]:
    """The same command at a terminal."""
    command = [sys.executable, "-m", "bpfctl", "-t", "far", "object", "list"]
    with at_terminal(command, {**far.line.environment, **environment}, far.folder) as found:
        yield found


def configure(far: Far, text: str) -> None:
    (far.home / ".ssh" / "config").write_text(text)


def ended_logged_in(terminal: Terminal) -> None:
    assert terminal.end() == 5
    assert LET_IN in terminal.shown


def test_a_key(far: Far) -> None:
    ask(far).refused(5, LET_IN)


def test_an_identity_of_the_target(far: Far) -> None:
    """-i goes before all others, and needs no configuration."""
    elsewhere = far.folder / "elsewhere"
    (far.home / ".ssh" / "id_ed25519").rename(elsewhere)
    ask(far).refused(5, "does not let root in by key", "it takes publickey")
    address = f"root@127.0.0.1:{far.port}"
    far.line.run("target", "add", "far", "--ssh", address, "-i", elsewhere, "--replace").ok()
    ask(far).refused(5, LET_IN)


def test_a_file_of_host_keys_of_the_target(far: Far) -> None:
    known = far.home / ".ssh" / "known_hosts"
    own = known.rename(far.folder / "own")
    ask(far).refused(5, "is not known", "SHA256:", "in a terminal")
    address = f"root@127.0.0.1:{far.port}"
    more = ("--known-hosts", own, "--replace")
    far.line.run("target", "add", "far", "--ssh", address, *more).ok()
    ask(far).refused(5, LET_IN)
    assert not known.exists()


def test_an_unknown_host_key_at_a_terminal(far: Far) -> None:
    """Shown, asked for, kept as ssh keeps it: real ssh accepts it from then on."""
    known = far.home / ".ssh" / "known_hosts"
    known.unlink()
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", far.folder / "host.pub"], capture_output=True, text=True
    ).stdout.split()[1]
    with typed(far) as terminal:
        terminal.expect(f"ED25519 key {shown}.\n")
        terminal.expect("(yes/no/[fingerprint])? ")
        terminal.type("maybe")
        terminal.expect("'yes', 'no' or the fingerprint: ")
        terminal.type("no")
        assert terminal.end() == 5
        assert "was not accepted" in terminal.shown
    assert not known.exists()
    with typed(far) as terminal:
        terminal.expect("(yes/no/[fingerprint])? ")
        terminal.type(shown)
        ended_logged_in(terminal)
    assert known.read_text() == f"[127.0.0.1]:{far.port} {far.host_key}\n"
    ask(far).refused(5, LET_IN)
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{far.port}", "-f", known], capture_output=True
    )
    assert found.returncode == 0


@pytest.mark.parametrize("hashed", ["yes", "no"])
def test_new_host_keys_that_are_accepted(far: Far, hashed: str) -> None:
    known = far.home / ".ssh" / "known_hosts"
    known.write_text("# a comment without an end of line")
    configure(far, f"Host *\n StrictHostKeyChecking accept-new\n HashKnownHosts {hashed}\n")
    assert "added" in ask(far).err
    assert ("|1|" in known.read_text()) == (hashed == "yes")
    ask(far).refused(5, LET_IN)
    # A changed one is refused all the same.
    other = keygen(far.folder / "other")
    known.write_text(f"[127.0.0.1]:{far.port} {other}\n")
    ask(far).refused(5, "not the one in known_hosts", "ssh-keygen -R")


def test_a_revoked_host_key(far: Far) -> None:
    known = far.home / ".ssh" / "known_hosts"
    known.write_text(known.read_text() + f"@revoked * {far.host_key}\n")
    ask(far).refused(5, "revoked")


def test_strict_means_yes_in_scripts_and_at_a_terminal(far: Far) -> None:
    (far.home / ".ssh" / "known_hosts").unlink()
    configure(far, "Host *\n StrictHostKeyChecking yes\n")
    with typed(far) as terminal:
        assert terminal.end() == 5
        assert "is not known" in terminal.shown


def test_included_configuration(far: Far) -> None:
    """Include, Match and tokens as ssh has them."""
    ssh = far.home / ".ssh"
    (ssh / "id_ed25519").rename(far.folder / "key-of-board")
    (far.folder / "more.conf").write_text(
        f"Host board\n HostName 127.0.0.1\n Port {far.port}\n"
        f"Match host 127.0.0.1 exec true\n User root\n IdentityFile {far.folder}/key-of-%n\n"
    )
    configure(far, f"Include {far.folder}/*.conf\n")
    far.line.run("target", "add", "far", "--ssh", "board", "--replace").ok()
    ask(far).refused(5, LET_IN)


def test_a_mistake_in_the_configuration(far: Far) -> None:
    configure(far, "Host *\n NoSuchOption yes\n")
    ask(far).refused(5, "SSH configuration", "NoSuchOption".lower())


def test_a_password(far_by_password: Far) -> None:
    far = far_by_password
    with typed(far) as terminal:
        terminal.expect("root@127.0.0.1's password: ")
        terminal.type_unseen("wrong")
        terminal.expect("try again")
        terminal.expect("root@127.0.0.1's password: ")
        terminal.type_unseen(PASSWORD)
        ended_logged_in(terminal)
        assert PASSWORD not in terminal.shown
    assert PASSWORD not in "".join(
        path.read_text() for path in (far.folder / "config").rglob("*") if path.is_file()
    )


def test_a_password_in_a_script(far_by_password: Far) -> None:
    far = far_by_password
    ask(far).refused(5, "nobody can be asked for a password", "ssh-copy-id")
    askpass = far.folder / "askpass"
    askpass.write_text(f"#!/bin/sh\necho \"$1\" >>{far.folder}/asked\necho '{PASSWORD}'\n")
    askpass.chmod(0o755)
    # As ssh: without a display only when it is forced.
    ask(far, SSH_ASKPASS=str(askpass)).refused(5, "nobody can be asked")
    ask(far, SSH_ASKPASS=str(askpass), DISPLAY=":0").refused(5, LET_IN)
    ask(far, SSH_ASKPASS=str(askpass), SSH_ASKPASS_REQUIRE="force").refused(5, LET_IN)
    ask(far, BPFCTL_SSH_ASKPASS=str(askpass)).refused(5, LET_IN)
    assert (far.folder / "asked").read_text() == "root@127.0.0.1's password: \n" * 3
    configure(far, "Host *\n BatchMode yes\n")
    ask(far, BPFCTL_SSH_ASKPASS=str(askpass)).refused(5, "nobody can be asked")


def test_a_wrong_password_ends(far_by_password: Far) -> None:
    far = far_by_password
    askpass = far.folder / "askpass"
    askpass.write_text("#!/bin/sh\necho wrong\n")
    askpass.chmod(0o755)
    done = ask(far, BPFCTL_SSH_ASKPASS=str(askpass))
    done.refused(5, "does not let root in", "password", context=True)


def test_questions_of_the_server(tmp_path: Path) -> None:
    """keyboard-interactive: here PAM asks for the password."""
    write_shadow(tmp_path)
    with far_machine(
        tmp_path,
        f"mount --bind {tmp_path}/shadow /etc/shadow",
        settings=("UsePAM=yes", "KbdInteractiveAuthentication=yes", "AuthorizedKeysFile=none"),
    ) as far:
        ask(far).refused(5, "nobody can be asked for a password")
        with typed(far) as terminal:
            terminal.expect("(root@127.0.0.1) Password: ")
            terminal.type_unseen(PASSWORD)
            ended_logged_in(terminal)
            assert PASSWORD not in terminal.shown


def test_no_password_goes_to_a_host_with_another_key(far_by_password: Far) -> None:
    """StrictHostKeyChecking no: as ssh, which then logs in by key only."""
    far = far_by_password
    configure(far, "Host *\n StrictHostKeyChecking no\n")
    known = far.home / ".ssh" / "known_hosts"
    known.write_text(f"[127.0.0.1]:{far.port} {keygen(far.folder / 'other')}\n")
    with typed(far) as terminal:
        assert terminal.end() == 5
        assert "warning: the host key" in terminal.shown
        assert "password:" not in terminal.shown


def test_a_passphrase(far: Far) -> None:
    key = far.home / ".ssh" / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", key], check=True)
    ask(far).refused(5, "it has a passphrase")
    with typed(far) as terminal:
        terminal.expect(f"Enter passphrase for key '{key}': ")
        terminal.type_unseen("wrong")
        terminal.expect(f"Enter passphrase for key '{key}': ")
        terminal.type_unseen("open sesame")
        ended_logged_in(terminal)
        assert "sesame" not in terminal.shown


@contextlib.contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[str]:
    """The socket of an agent that holds keys."""
    path = folder / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not path.exists():
            assert process.poll() is None
        for key in keys:
            subprocess.run(
                ["ssh-add", "-q", key],
                env={**os.environ, "SSH_AUTH_SOCK": str(path)},
                check=True,
            )
        yield str(path)
    finally:
        process.kill()
        process.wait()


def test_an_agent(far: Far) -> None:
    key = far.home / ".ssh" / "id_ed25519"
    with agent(far.folder, key) as socket_path:
        key.rename(far.folder / "away")
        ask(far, SSH_AUTH_SOCK=socket_path).refused(5, LET_IN)
        # IdentitiesOnly: of the agent's keys only those that are named.
        key.with_suffix(".pub").rename(far.folder / "away.pub")
        configure(far, f"Host *\n IdentitiesOnly yes\n IdentityAgent {socket_path}\n")
        ask(far).refused(5, "does not let")
        configure(
            far,
            f"Host *\n IdentitiesOnly yes\n IdentityAgent {socket_path}\n"
            f" IdentityFile {far.folder}/away.pub\n",
        )
        ask(far).refused(5, LET_IN)


def test_a_certificate(tmp_path: Path) -> None:
    """The server trusts who signed the key, and does not know the key."""
    authority = tmp_path / "authority"
    keygen(authority)
    settings = (f"TrustedUserCAKeys={authority}.pub", "AuthorizedKeysFile=none")
    with far_machine(tmp_path, settings=settings) as far:
        ask(far).refused(5, "does not let root in by key")
        public = far.home / ".ssh" / "id_ed25519.pub"
        subprocess.run(
            ["ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", "root", public], check=True
        )
        ask(far).refused(5, LET_IN)


def test_two_factors(tmp_path: Path) -> None:
    """A key and then a password."""
    with far_machine(
        tmp_path,
        with_password(tmp_path),
        settings=("PasswordAuthentication=yes", "AuthenticationMethods=publickey,password"),
    ) as far:
        ask(far).refused(5, "nobody can be asked for a password")
        with typed(far) as terminal:
            terminal.expect("password: ")
            terminal.type_unseen(PASSWORD)
            ended_logged_in(terminal)


def test_jump_hosts(far: Far) -> None:
    """Each with its own settings and host key; the far one is not reached directly."""
    configure(
        far,
        f"Host near\n HostName 127.0.0.1\n Port {far.port}\n User root\n"
        f"Host board\n HostName 127.0.0.1\n Port {far.port}\n User root\n"
        " ProxyJump near,near\n",
    )
    far.line.run("target", "add", "far", "--ssh", "board", "--replace").ok()
    ask(far).refused(5, LET_IN)
    (far.home / ".ssh" / "known_hosts").unlink()
    ask(far).refused(5, "the host key of", "is not known")


PROXY = """
import os, socket, sys, threading
far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def inward():
    while data := far.recv(65536):
        os.write(1, data)
threading.Thread(target=inward, daemon=True).start()
while data := os.read(0, 65536):
    far.sendall(data)
"""


def test_a_proxy_command(far: Far) -> None:
    (far.folder / "proxy").write_text(PROXY)
    configure(
        far,
        f"Host board\n Port {far.port}\n User root\n HostKeyAlias alias\n"
        f" ProxyCommand {sys.executable} {far.folder}/proxy %p\n",
    )
    known = far.home / ".ssh" / "known_hosts"
    known.write_text(f"[alias]:{far.port} {far.host_key}\n")
    far.line.run("target", "add", "far", "--ssh", "board", "--replace").ok()
    ask(far).refused(5, LET_IN)


def test_ipv6(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on loopback here")
    with far_machine(tmp_path, settings=("ListenAddress=::1",)) as far:
        known = far.home / ".ssh" / "known_hosts"
        known.write_text(f"[::1]:{far.port} {far.host_key}\n")
        far.line.run(
            "target", "add", "far", "--ssh", f"root@[::1]:{far.port}", "--replace"
        ).ok()
        ask(far).refused(5, LET_IN)


def test_something_that_is_no_ssh_server(far: Far) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        far.line.run("target", "add", "far", "--ssh", f"127.0.0.1:{port}", "--replace").ok()
        configure(far, "Host *\n ConnectTimeout 1\n")
        ask(far).refused(5, "says nothing for 1 s", "SSH server")
