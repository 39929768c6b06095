# SPDX-License-Identifier: Apache-2.0
"""A command at a pseudo-terminal: what it shows, and what somebody types."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

SECONDS = 60.0


class Terminal:
    """A running command whose controlling terminal is ours."""

    def __init__(self, pid: int, master: int) -> None:
        self.pid = pid
        self._master = master
        self.shown = ""
        """Everything so far."""

    def expect(self, text: str) -> str:
        """Waits until `text` is shown after what was expected before; gives all up to it."""
        until = time.monotonic() + SECONDS
        while text not in self.shown[self._seen :]:
            assert self._read(until - time.monotonic()), (
                f"{text!r} is not in {self.shown[-5000:]!r}"
            )
        end = self.shown.index(text, self._seen) + len(text)
        found, self._seen = self.shown[self._seen : end], end
        return found

    _seen = 0

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self._master, 65536)
        except OSError:
            return False
        self.shown += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)

    def type(self, line: str) -> None:
        """Types a line."""
        os.write(self._master, f"{line}\n".encode())

    def type_unseen(self, line: str) -> None:
        """Types a line once the terminal does not echo."""
        until = time.monotonic() + SECONDS
        while termios.tcgetattr(self._master)[3] & termios.ECHO:
            assert time.monotonic() < until, "the terminal echoes"
            time.sleep(0.01)
        self.type(line)

    def end(self) -> int:
        """Waits for the end; gives the exit code."""
        while self._read(SECONDS):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def at_terminal(
    command: list[str], environment: Mapping[str, str], folder: Path
) -> Iterator[Terminal]:
    """Starts a command at a terminal of its own; it is killed if it is left running."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's job may ignore it
            os.execvpe(command[0], command, dict(environment))
        finally:
            os._exit(127)
    try:
        yield Terminal(pid, master)
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(master)
