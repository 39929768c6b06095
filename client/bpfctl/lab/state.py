# SPDX-License-Identifier: Apache-2.0
"""Boards that run: a folder for each, and which process it is.

Names of processes are taken again by others, so a process is known by its id together with
when it started and in which boot of this machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bpfctl.config import cache_dir

from .errors import LabError

_MAX_SOCKET_PATH = 107
"""sizeof(sun_path) without the zero (unix(7))."""


@dataclass(frozen=True)
class Process:
    """A process of this machine, not to be mixed up with a later one of that id."""

    pid: int
    started: int
    """Clock ticks after boot: field 22 of /proc/PID/stat (proc(5))."""
    boot: str
    """/proc/sys/kernel/random/boot_id."""

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The process that has this id now."""
        started = _started(pid)
        return None if started is None else cls(pid, started, _boot())

    @property
    def alive(self) -> bool:
        return self.boot == _boot() and self.started == _started(self.pid)

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds; 0 when it is gone."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        return 0

    def end(self, number: signal.Signals, timeout: float) -> bool:
        """Send a signal and wait; gives whether the process is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # The handle is of whoever has the id now: only then look who it is.
            if not self.alive:
                return True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            return bool(select.select([handle], [], [], timeout)[0])
        finally:
            os.close(handle)

    def wait(self, timeout: float) -> bool:
        """Whether it is gone within so many seconds."""
        until = time.monotonic() + timeout
        while self.alive:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in brackets, may have blanks and brackets in it.
    words = text.rpartition(")")[2].split()
    return None if words[0] in "ZX" else int(words[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Running:
    """A board that was started."""

    name: str
    recipe: str
    arch: str
    release: str
    memory: int
    """MiB."""
    cpus: int
    process: Process
    ssh_port: int
    adb_port: int = 0
    """0: no adbd."""
    android: bool = False
    joined: str = ""
    """The board whose eth1 is at the other end of this one's."""
    home: str = ""
    """Folder there of the daemon that was put on it; empty: none."""
    since: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True)
class Place:
    """The folder of one board."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def pid(self) -> Path:
        return self.folder / "pid"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def monitor(self) -> Path:
        return self.folder / "monitor"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def wire_board(self) -> Path:
        """Socket of the board's end of its wire."""
        return self.folder / "wire.board"

    @property
    def wire_here(self) -> Path:
        """Socket of the workstation's end, or of a board that is joined."""
        return self.folder / "wire.here"

    def make(self) -> None:
        """An empty folder for this user alone."""
        longest = max(len(os.fsencode(path)) for path in (self.wire_board, self.monitor))
        if longest > _MAX_SOCKET_PATH:
            raise LabError(
                f"{self.folder} is too long a path for sockets",
                "choose a shorter name, or set XDG_RUNTIME_DIR or BPFCTL_CACHE_DIR to a folder "
                "with a shorter one",
            )
        self.remove()
        self.folder.mkdir(parents=True, mode=0o700)

    def remove(self) -> None:
        """The folder and what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, running: Running) -> None:
        """Note what runs here."""
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
            json.dump(asdict(running), file)
        os.replace(file.name, self.state)

    def read(self) -> Running | None:
        """What was noted; None: nothing, or by a version that noted other things."""
        try:
            table = json.loads(self.state.read_text())
            known = {item.name for item in fields(Running)}
            table = {key: value for key, value in table.items() if key in known}
            return Running(**{**table, "process": Process(**table["process"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def process(self) -> Process | None:
        """The process of the board here, if it lives."""
        running = self.read()
        if running is not None:
            return running.process if running.process.alive else None
        # Who started it was stopped before the state was written.
        with contextlib.suppress(OSError, ValueError):
            found = Process.find(int(self.pid.read_text()))
            if found is not None:
                words = Path(f"/proc/{found.pid}/cmdline").read_bytes().split(b"\0")
                if os.fsencode(self.pid) in words and found.alive:
                    return found
        return None


def folder() -> Path:
    """Where the folders of running boards are; it need not exist."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    # After `su` it may be another user's.
    if runtime and _is_own(runtime):
        return Path(runtime) / "bpfctl" / "lab"
    return cache_dir() / "lab" / "run"


def _is_own(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.getuid()
    except OSError:
        return False


def place(name: str) -> Place:
    """The folder of a board of that name."""
    return Place(folder() / name)


def running() -> list[Running]:
    """Boards that run, in the order of their names; what is left of others is no matter."""
    found = []
    for path in sorted(folder().glob("*/state.json")):
        entry = Place(path.parent).read()
        if entry is not None and entry.process.alive:
            found.append(entry)
    return found


@contextlib.contextmanager
def locked(name: str) -> Iterator[Place]:
    """The folder of a board, for one process at a time."""
    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder() / f"{name}.lock"
    while True:
        with open(path, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_at(path, lock.fileno()):
                # Who had it before us has removed it.
                continue
            try:
                yield place(name)
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
