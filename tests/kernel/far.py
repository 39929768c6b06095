# SPDX-License-Identifier: Apache-2.0
"""A far machine for bootstrapping: a real sshd in a mount namespace with folders of its own.

Programs and network are this machine's; what a daemon could be put into is empty and gone
with the namespace, bpffs included.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernel.api import eventually
from tests.kernel.command_line import CommandLine

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

OWN = ("/var/lib", "/opt", "/root", "/run", "/dev/shm")
"""Folders of the namespace, each a tmpfs of 256 MiB at most."""

WATCHED = (*OWN, "/sys/fs/bpf")
"""What a listing shows."""


def keygen(path: Path, *options: str) -> str:
    """Makes a key pair; gives the public one without its comment."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", *options, "-f", path],
        check=True,
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Far:
    """The machine; `home` is the folder of the ssh client's user."""

    folder: Path
    port: int
    host_key: str
    line: CommandLine
    settings: list[str] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def pid(self) -> int:
        assert self.server is not None
        return self.server.pid

    def sh(self, script: str, check: bool = True) -> str:
        """Runs a script there, not through ssh."""
        done = subprocess.run(
            ["nsenter", "-m", "-t", str(self.pid), "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def listing(self) -> list[str]:
        """Every file there with its type, mode and owner, and every mount."""
        found = self.sh(f"find {' '.join(WATCHED)} -xdev -printf '%p %y %m %u %l\\n'")
        mounts = self.sh("cut -d' ' -f2,3 /proc/mounts").splitlines()
        # Others make network namespaces meanwhile.
        return sorted(found.splitlines()) + [each for each in mounts if "nsfs" not in each]

    def processes(self) -> list[int]:
        """Every process of the namespace but sshd itself."""
        own = os.readlink(f"/proc/{self.pid}/ns/mnt")
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/mnt") == own:
                    found.append(int(entry))
        return [pid for pid in found if pid != self.pid]

    def daemons(self) -> list[int]:
        """Processes that serve."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"serve" in words and b"--detach" in words:
                    found.append(pid)
        return found

    def connections(self) -> list[int]:
        """The sshd processes that serve a connection."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name.startswith("sshd"):
                    found.append(pid)
        return found

    def cut(self) -> None:
        """Breaks every ssh connection, without a word."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start(self, *mounts: str) -> None:
        """Starts the machine; `mounts` are commands that change it before."""
        assert SSHD is not None
        options = [word for each in self.settings for word in ("-o", each)]
        own = "; ".join(f"mount -t tmpfs -o size=256m,mode=755 own {path}" for path in OWN)
        # The daemon of this checkout runs there, too.
        python = sys.base_prefix
        script = f"""
            set -e
            mount --make-rprivate /
            mount --bind {python} /mnt
            {own}
            [ -d {python} ] || {{ mkdir -p {python}; mount --move /mnt {python}; }}
            mount -t bpf bpf /sys/fs/bpf
            mkdir /run/sshd
            {"; ".join(mounts) or ":"}
            exec {SSHD} -D -e -f /dev/null "$@"
        """
        self.server = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script, "sh", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "sshd.log").open("ab"),
        )
        assert eventually(self._listens), (self.folder / "sshd.log").read_text()

    def _listens(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        """What sshd said."""
        return (self.folder / "sshd.log").read_text()

    def end(self) -> None:
        """Ends every process of the namespace."""
        if self.server is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
            until = time.monotonic() + 10
            while self.processes() and time.monotonic() < until:
                time.sleep(0.02)
        self.server.kill()
        self.server.wait()


@contextlib.contextmanager
def far_machine(folder: Path, *mounts: str, settings: tuple[str, ...] = ()) -> Iterator[Far]:
    """Boots one; its target is called `far`."""
    (folder / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    host_key = keygen(folder / "host")
    public = keygen(folder / "home" / ".ssh" / "id_ed25519")
    (folder / "authorized_keys").write_text(public + "\n")
    port = free_port()
    line = CommandLine(folder / "none", folder)
    line.environment |= {"HOME": str(folder / "home"), "SSH_AUTH_SOCK": "", "DISPLAY": ""}
    far = Far(folder, port, host_key, line)
    far.settings = [
        *settings,
        *(f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={folder}/host"),
        *(f"AuthorizedKeysFile={folder}/authorized_keys", "PidFile=none"),
        *("StrictModes=no", "UsePAM=no", "PermitRootLogin=yes", "LogLevel=ERROR"),
        *("PasswordAuthentication=no", "KbdInteractiveAuthentication=no", "MaxStartups=50"),
    ]
    known = folder / "home" / ".ssh" / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {host_key}\n")
    try:
        far.start(*mounts)
        line.run("target", "add", "far", "--ssh", f"root@127.0.0.1:{port}").ok()
        yield far
    finally:
        far.end()
