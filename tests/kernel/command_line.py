# SPDX-License-Identifier: Apache-2.0
"""The real `bpfctl` against a real daemon: how it ends, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bpfd.v1 import links_pb2
from tests.kernel.api import Api, eventually

if TYPE_CHECKING:
    from tests.kernel.conftest import RunningDaemon

ERROR = "bpfctl: error: "
SECONDS = 60.0
"""How long a command may take before it counts as hanging."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def ok(self) -> str:
        """Its output; it must have succeeded."""
        assert self.code == 0, f"exit code {self.code}: {self.err}"
        return self.out

    def refused(self, code: int, *says: str, context: bool = False) -> str:
        """The error; there must be one line of it, with this exit code and these words.

        `context`: other lines may stand before it, as the usage or a source line.
        """
        assert self.code == code, f"exit code {self.code}: {self.err}"
        assert "Traceback" not in self.err, self.err
        assert "bug of bpfctl" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(ERROR)]
        assert len(errors) == 1, self.err
        assert lines[-1] == errors[0], self.err
        if not context:
            assert lines == errors, self.err
        for word in says:
            assert word in errors[0], f"{word!r} is not in {errors[0]!r}"
        return errors[0].removeprefix(ERROR)


@dataclass
class CommandLine:
    """Runs `bpfctl` with folders of its own."""

    socket: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith("BPFCTL_")
        }
        self.environment = {
            **inherited,
            "BPFCTL_SOCKET": str(self.socket),
            "BPFCTL_CONFIG_DIR": str(self.folder / "config"),
            "BPFCTL_CACHE_DIR": str(self.folder / "cache"),
            "BPFCTL_DATA_DIR": str(self.folder / "data"),
            "COLUMNS": "100",
        }

    def start(
        self,
        *arguments: str | Path,
        prefix: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Starts a command; `prefix` is what starts it in another way."""
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "bpfctl", *map(str, arguments)],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
        )

    def run(
        self,
        *arguments: str | Path,
        prefix: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        typed: str | None = None,
    ) -> Finished:
        """Runs a command to its end; `typed` is its standard input."""
        stdin = subprocess.DEVNULL if typed is None else subprocess.PIPE
        process = self.start(*arguments, prefix=prefix, environment=environment, stdin=stdin)
        return finish(process, typed)


def finish(process: subprocess.Popen[str], typed: str | None = None) -> Finished:
    """Waits for the end of a command; one that hangs fails the test."""
    try:
        out, err = process.communicate(typed, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it hangs; so far it said: {out[-1000:]} {err[-1000:]}") from None
    return Finished(process.returncode, out or "", err or "")


@contextmanager
def surviving(daemon: RunningDaemon, folder: Path) -> Iterator[CommandLine]:
    """A command line; afterwards the daemon must serve and hold nothing at all."""
    yield CommandLine(daemon.socket, folder)
    check_clean(daemon)


def check_clean(daemon: RunningDaemon) -> None:
    """The daemon serves, and neither it nor its folders hold anything."""
    with daemon.channel() as channel:
        api = Api(channel)
        assert eventually(lambda: not api.object_names()), api.object_names()
        assert not api.links.List(links_pb2.ListLinksRequest()).links
    assert eventually(lambda: not bpf_fds(daemon.pid)), bpf_fds(daemon.pid)
    assert files_below(daemon.bpffs) == []
    assert files_below(daemon.state_dir / "objects") == []
    assert files_below(daemon.state_dir / "journal") == []


def files_below(folder: Path) -> list[Path]:
    """Every file, pin or socket below a folder."""
    return [path for path in folder.rglob("*") if not path.is_dir()]


def bpf_fds(pid: int) -> list[str]:
    """What of BPF a process holds open."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(entry)
        except FileNotFoundError:
            continue
        if name.startswith("anon_inode:bpf"):
            found.append(name)
    return found
