# SPDX-License-Identifier: Apache-2.0
"""`bpfctl` against the daemon of a test."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from bpfctl.cli.root import run

from tests.kernel.clang import clang
from tests.kernel.conftest import RunningDaemon

SOURCE = Path(__file__).parent / "programs" / "cli.bpf.c"

GETPPID = {"x86_64": 110, "aarch64": 173, "riscv64": 173}.get(platform.machine(), 64)

needs_clang = pytest.mark.skipif(not clang(), reason="needs clang")


@dataclass
class Cli:
    """Runs commands with folders of their own; the cache is kept for the whole run."""

    socket: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "BPFCTL" not in name}
        return {
            **kept,
            "BPFCTL_SOCKET": str(self.socket),
            "BPFCTL_CONFIG_DIR": str(self.folder / "config"),
            "BPFCTL_CACHE_DIR": str(_cache()),
            "BPFCTL_DATA_DIR": str(self.folder / "data"),
            "PYTHONUNBUFFERED": "1",
        }

    def try_(
        self, *arguments: str, stdin: str = "", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What a command says, whatever its exit code. It runs in this process, which saves
        a Python's start each time."""
        out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
            contextlib.chdir(cwd or self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(list(arguments))
        return subprocess.CompletedProcess(arguments, code, _text(out), _text(err))

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Standard output of a command that must succeed."""
        done = self.try_(*arguments, stdin=stdin)
        assert done.returncode == 0, f"bpfctl {arguments}: {done.returncode}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What a command says with -o json."""
        return json.loads(self(*arguments, "-o", "json"))

    def refused(self, code: int, *arguments: str, cwd: Path | None = None) -> str:
        """Standard error of a command that must end with `code`."""
        done = self.try_(*arguments, cwd=cwd)
        assert done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "bpfctl: error: " in done.stderr
        return done.stderr

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs meanwhile; killed at the end if it still does."""
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "bpfctl", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                # It hangs: faulthandler says where.
                process.send_signal(signal.SIGABRT)
                print(process.communicate()[1], file=sys.stderr)
            process.communicate()

    def running(self, *arguments: str) -> Any:
        """`bpfctl run` of the test's program, watching this process's getppid(2)."""
        watched = ("--set", f"watched_pid={os.getpid()}", "--set", f"watched_call={GETPPID}")
        return self.started("run", str(SOURCE), *watched, *arguments)


def make(daemon: RunningDaemon, folder: Path) -> Cli:
    """Commands for a daemon."""
    return Cli(daemon.socket, folder)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def wait_for(process: subprocess.Popen[str], words: str) -> list[str]:
    """Lines of standard error up to the one with `words`."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"no {words!r} in {lines}")


def getppid(times: int) -> None:
    """Real system calls, which Python's os.getppid() are too."""
    libc = ctypes.CDLL(None)
    for _ in range(times):
        libc.getppid()


def _cache() -> Path:
    global _made
    if _made is None:
        import atexit

        _made = Path(tempfile.mkdtemp(prefix="bpfctl-cache-"))
        atexit.register(shutil.rmtree, _made, ignore_errors=True)
    return _made


_made: Path | None = None
