# SPDX-License-Identifier: Apache-2.0
"""A real daemon for every test that asks for one, and a look for what tests leave behind."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from tests.kernel import leaks
from tests.kernel.command_line import CommandLine, surviving

EXCLUSIVE = os.environ.get("BPFD_TEST_EXCLUSIVE") == "1"
"""Nobody else uses BPF on this machine: every new id counts, not only our own."""

PROGRAM = os.environ.get("BPFD_TEST_PROGRAM", "").split() or [sys.executable, "-m", "bpfd"]
"""The daemon's command; another one is tested with BPFD_TEST_PROGRAM, as a bundle's."""

SHARED_DAEMON = os.environ.get("BPFD_TEST_SHARED_DAEMON") == "1"
"""Tests that need any daemon take the same: on a slow machine a start takes seconds."""

_SECONDS = 120.0 if SHARED_DAEMON else 20.0
"""For a daemon to start or to end: an emulated board takes a minute when others run too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs root"))


@dataclass
class RunningDaemon:
    """A `bpfd serve` process and where to reach it."""

    folder: Path
    bpffs: Path
    arguments: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    ready: str = ""
    prefix: list[str] = field(default_factory=list)
    """A command that runs the daemon by exec(), as unshare(1)."""

    @property
    def socket(self) -> Path:
        return self.folder / "bpfd.sock"

    @property
    def read_only_socket(self) -> Path:
        return self.folder / "bpfd-ro.sock"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def audit_log(self) -> Path:
        return self.state_dir / "audit.jsonl"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        """The command line, without its --ready-fd."""
        return [
            *(*self.prefix, *PROGRAM, "serve"),
            *("--socket", str(self.socket), "--state-dir", str(self.state_dir)),
            *("--bpffs", str(self.bpffs), *self.arguments),
        ]

    def start(self, environment: dict[str, str] | None = None) -> None:
        """Starts the process and waits until it is ready."""
        reader, writer = os.pipe()
        log = open(self.folder / "log", "ab")  # noqa: SIM115
        with log, open(reader, "rb") as ready:
            self.process = subprocess.Popen(
                [*self.command(), "--ready-fd", str(writer)],
                pass_fds=[writer],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
            os.close(writer)
            if select.select([ready], [], [], _SECONDS)[0]:
                self.ready = ready.readline().decode()
        if not self.ready:
            self.kill()
            raise AssertionError(f"the daemon did not get ready:\n{self.log()}")

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def end(self) -> None:
        """SIGTERM, if it still runs; it must end soon and well."""
        if self.process is not None and self.process.poll() is None:
            code = self.stop()
            assert code == 0, f"the daemon ended with {code}:\n{self.log()}"

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def channel(self, *, viewer: bool = False) -> grpc.Channel:
        """A connection; the caller closes it."""
        path = self.read_only_socket if viewer else self.socket
        return grpc.insecure_channel(
            f"unix:{path}",
            options=[
                ("grpc.max_receive_message_length", 80 << 20),
                ("grpc.max_send_message_length", 80 << 20),
                ("grpc.max_metadata_size", 64 << 10),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )


MakeDaemon = Callable[..., RunningDaemon]


@pytest.fixture
def make_daemon() -> Iterator[MakeDaemon]:
    """Makes daemons that are not started; all that were are ended after the test."""
    with contextlib.ExitStack() as undo:

        def make(*arguments: str) -> RunningDaemon:
            return _made(undo, *arguments)

        yield make


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> RunningDaemon:
    """A running daemon with folders of its own, or the one that tests share."""
    if SHARED_DAEMON:
        shared: SharedDaemon = request.getfixturevalue("shared_daemon")
        return shared.running()
    make: MakeDaemon = request.getfixturevalue("make_daemon")
    running = make()
    running.start()
    return running


class SharedDaemon:
    """One daemon after the other: a test may kill it."""

    def __init__(self, undo: contextlib.ExitStack) -> None:
        self._undo = undo
        self._running: RunningDaemon | None = None

    def running(self) -> RunningDaemon:
        """The one that runs, or a new one."""
        found = self._running
        if found is None or found.process is None or found.process.poll() is not None:
            found = self._running = _made(self._undo)
            found.start()
        return found


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[SharedDaemon]:
    """For all tests that need any daemon."""
    with contextlib.ExitStack() as undo:
        yield SharedDaemon(undo)


def _made(undo: contextlib.ExitStack, *arguments: str) -> RunningDaemon:
    folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="bpfd-test-")))
    daemon = RunningDaemon(folder, Path("/sys/fs/bpf") / folder.name, list(arguments))
    undo.callback(shutil.rmtree, daemon.bpffs, ignore_errors=True)
    undo.callback(daemon.end)
    return daemon


@pytest.fixture
def channel(daemon: RunningDaemon) -> Iterator[grpc.Channel]:
    """An operator's connection to the daemon."""
    with daemon.channel() as found:
        yield found


@pytest.fixture
def viewer_channel(daemon: RunningDaemon) -> Iterator[grpc.Channel]:
    """A viewer's connection to the daemon."""
    with daemon.channel(viewer=True) as found:
        yield found


@pytest.fixture
def bpfctl(daemon: RunningDaemon, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line, at the daemon; afterwards that must serve and hold nothing."""
    with surviving(daemon, tmp_path) as found:
        yield found


@pytest.fixture
def owned_names() -> set[str]:
    """Names of programs and maps (the kernel's 15 bytes) that only this test uses; none
    of them may be there afterwards."""
    return set()


@pytest.fixture(autouse=True)
def no_leaks(owned_names: set[str]) -> Iterator[None]:
    """Fails a test that leaves a program, map or link, in the kernel or held by us."""
    before = leaks.look(everything=EXCLUSIVE)
    yield
    # The kernel frees programs and maps a grace period after their last user left.
    deadline = time.monotonic() + _SECONDS / 4
    while True:
        left = leaks.look(everything=EXCLUSIVE) - before
        left |= leaks.named(owned_names)
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    assert not left, f"left behind: {sorted(left)}"
