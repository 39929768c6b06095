# SPDX-License-Identifier: Apache-2.0
"""`bpfd serve --detach`: ready when the command ends, and nothing of the caller is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfd import __version__
from tests.kernel.api import Api, eventually
from tests.kernel.conftest import MakeDaemon, RunningDaemon


def detach(daemon: RunningDaemon, *more: str) -> subprocess.CompletedProcess[str]:
    """Its pipes must end with the command, not with the daemon."""
    return subprocess.run(
        [*daemon.command(), "--detach", *more], capture_output=True, text=True, timeout=30
    )


def pid_of(daemon: RunningDaemon) -> int:
    return int(Path(f"{daemon.socket}.lock").read_text())


@contextlib.contextmanager
def ended(daemon: RunningDaemon) -> Iterator[int]:
    """The pid of a detached daemon that ends with the block."""
    pid = pid_of(daemon)
    handle = os.pidfd_open(pid)
    try:
        yield pid
    finally:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        assert eventually(lambda: not daemon.socket.exists())
        os.close(handle)


def test_it_is_ready_and_on_its_own(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    done = detach(daemon)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"bpfd {__version__} ready on {daemon.socket}")
    assert done.stderr == ""
    with ended(daemon) as pid:
        with daemon.channel() as channel:
            assert Api(channel).object_names() == []
        assert os.getsid(pid) == pid != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        files = {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)}
        assert files == {"/dev/null", str(daemon.state_dir / "bpfd.log")}
        assert "ready on" in (daemon.state_dir / "bpfd.log").read_text()


def test_a_second_one_says_why_not(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon()
    assert detach(daemon).returncode == 0
    with ended(daemon) as pid:
        done = detach(daemon, "--log", str(tmp_path / "a" / "log"))
        assert done.returncode == 75
        assert f"another bpfd (pid {pid}) serves {daemon.socket}" in done.stderr
        assert done.stdout == ""
        with daemon.channel() as channel:
            assert Api(channel).object_names() == []


def test_a_log_that_cannot_be_written(make_daemon: MakeDaemon) -> None:
    done = detach(make_daemon(), "--log", "/proc/nowhere/log")
    assert done.returncode == 73
    assert "/proc/nowhere" in done.stderr


@pytest.mark.parametrize("code", ["import os; os.kill(os.getpid(), 9)", "raise SystemExit(3)"])
def test_a_daemon_that_dies_early(tmp_path: Path, code: str) -> None:
    script = (
        "from bpfd.detach import detach\n"
        f"fd, code = detach({str(tmp_path / 'log')!r})\n"
        "if fd < 0: raise SystemExit(code)\n"
        "print('last words', flush=True)\n" + code
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == (70 if "kill" in code else 3)
    assert done.stderr == "last words\n"
