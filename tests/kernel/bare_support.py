# SPDX-License-Identifier: Apache-2.0
"""A root folder with a static shell, tar and gzip, and a bundle's daemon in it.

There is no libc, no Python, no /tmp, no /usr, no /etc, no environment; the bundle's folder
is read-only.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bpfctl.bundle import Bundle
from bpfctl.bundle.python import MACHINES
from bpfctl.debian import Archive

from tests.kernel.conftest import RunningDaemon

ARCH = MACHINES[platform.machine()]
"""This machine's architecture in Debian's words."""

_ENTER = """\
for name in proc sys dev; do mount --rbind /$name "$1/$name"; done
mount --bind "$1/opt" "$1/opt"
mount -o remount,bind,ro "$1/opt"
root=$1
shift
exec /usr/sbin/chroot "$root" "$@"
"""


def make_shell(root: Path, shell: str) -> None:
    """Fills `root` with no more than a shell, tar and gzip."""
    tree = Archive("trixie", ARCH).tree("busybox-static", "mksh", closure=False)
    for name in ("bin", "dev", "opt", "proc", "sys", "data"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(tree / "usr/bin/busybox", root / "bin/busybox")
    for name in ("tar", "gzip"):
        (root / "bin" / name).symlink_to("busybox")
    if shell == "busybox":
        (root / "bin/sh").symlink_to("busybox")
    else:
        shutil.copy(tree / f"usr/bin/{shell}-static", root / "bin/sh")


def make_root(root: Path, bundle: Bundle, shell: str) -> None:
    """Fills `root` and unpacks the bundle there, with the tools that are there.

    `shell` is what /bin/sh is: "busybox" or "mksh".
    """
    make_shell(root, shell)
    with bundle.path.open("rb") as file:
        subprocess.run(
            ["/usr/sbin/chroot", root, "/bin/sh", "-c", "cd /opt && gzip -dc | tar xf -"],
            stdin=file,
            env={},
            check=True,
        )


def inside(root: Path, *command: str) -> list[str]:
    """The command line that runs a command in there."""
    return [
        *("/usr/bin/unshare", "--mount", "--propagation", "private"),
        *("/bin/sh", "-ec", _ENTER, "sh", str(root), *command),
    ]


def run(root: Path, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Runs a command in there, without any environment."""
    done = subprocess.run(
        inside(root, *command), input=stdin, capture_output=True, timeout=60, env={}
    )
    out, err = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, out, err)


@dataclass
class BareDaemon(RunningDaemon):
    """A bundle's daemon in a root of its own; `folder` is below that."""

    root: Path = field(default_factory=Path)
    program: str = "/opt/bpfd/bpfd"

    @property
    def own_folder(self) -> str:
        """The folder as the daemon sees it."""
        return f"/{self.folder.relative_to(self.root)}"

    def command(self) -> list[str]:
        return [
            *("/usr/bin/env", "--ignore-environment"),
            *inside(self.root, *self._serve()),
        ]

    def _serve(self) -> list[str]:
        return [
            *(self.program, "serve", "--socket", f"{self.own_folder}/bpfd.sock"),
            *("--state-dir", f"{self.own_folder}/state"),
            *("--bpffs", f"{self.own_folder}/bpf", *self.arguments),
        ]

    def environment(self) -> dict[str, str]:
        """What the process was started with."""
        text = Path(f"/proc/{self.pid}/environ").read_text()
        pairs = (entry.partition("=") for entry in text.split("\0") if entry)
        return {name: value for name, _, value in pairs}


def daemon(root: Path, *arguments: str) -> BareDaemon:
    """A daemon that is not started, with a folder of its own in `root`."""
    folder = Path(tempfile.mkdtemp(dir=root / "data"))
    return BareDaemon(folder, folder / "bpf", list(arguments), root=root)
