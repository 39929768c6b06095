# SPDX-License-Identifier: Apache-2.0
"""Switching a board on and putting the daemon there, with what that takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bpfctl import bootstrap, lab
from bpfctl.bootstrap.shell import Completed
from bpfctl.config import AdbTarget, SshTarget, changing_targets
from bpfctl.target import Target

from bpfd.server import QUIET_SECONDS

MEMORY = 384
"""MiB: the board's memory holds its files, the daemon, and the tests with their own."""

REST_SECONDS = 2 * QUIET_SECONDS + 3
"""Until a daemon has given back what its calls took: it looks every QUIET_SECONDS whether it
was quiet all the time."""


@dataclass
class ReadyBoard:
    """A board whose daemon answers."""

    lab: lab.Board
    recipe: str
    look: str
    name: str
    config: SshTarget | AdbTarget

    @property
    def home(self) -> str:
        """Folder of the daemon there."""
        return self.config.home

    @property
    def bundle(self) -> str:
        """Folder of the bundle there."""
        return f"{self.home}/current/bpfd"

    def run(self, script: str, stdin: bytes = b"", *, timeout: float = 200.0) -> str:
        """Standard output of a script that must succeed."""
        done = self.lab.run(script, stdin, timeout=timeout)
        assert done.status == 0, f"{script}: {done.words}\n{done.text}"
        return done.text

    def try_(self, script: str, *, timeout: float = 200.0) -> Completed:
        """A script that may fail."""
        return self.lab.run(script, timeout=timeout)

    def pss(self) -> int:
        """Bytes of the daemon's share of memory (proc(5), smaps_rollup)."""
        script = "cat /proc/$(pidof bpfd | tr ' ' '\\n' | tail -1)/smaps_rollup"
        lines = self.run(script).splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    def target(self) -> Target:
        """The library's view; the caller closes it."""
        return Target.open(self.name, self.config)


def look_of(look: str, **wishes: object) -> lab.Wishes:
    """A board's look by the word of --look."""
    adb = look in ("adb", "android")
    return lab.Wishes(adb=adb, android=look == "android", **wishes)  # type: ignore[arg-type]


@contextmanager
def switched_on(recipe: str, look: str, **wishes: object) -> Iterator[lab.Board]:
    """A board of the test run's own, without daemon; off at the end."""
    name = f"vm-{recipe}-{look}-{os.getpid()}-{os.urandom(2).hex()}"
    with lab.up(
        recipe, look_of(look, name=name, **wishes), register=False, daemon=False
    ) as found:
        yield found


def put_daemon(found: lab.Board) -> bootstrap.Up:
    """Puts the daemon there and notes the target under the board's name."""
    config = found.target
    assert isinstance(config, SshTarget | AdbTarget)
    up = bootstrap.up(found.name, config)
    with changing_targets() as targets:
        targets[found.name] = up.config
    return up


@contextmanager
def switch_on(
    recipe: str, look: str, facts: dict[str, object], **wishes: object
) -> Iterator[ReadyBoard]:
    """A board with a daemon; what was measured goes into `facts`."""
    begin = time.monotonic()
    with switched_on(recipe, look, memory=MEMORY, **wishes) as found:
        facts["kernel"] = found.release
        facts["seconds until the board answers"] = round(time.monotonic() - begin, 1)
        begin = time.monotonic()
        up = put_daemon(found)
        facts["seconds until its daemon answers"] = round(time.monotonic() - begin, 1)
        assert isinstance(up.config, SshTarget | AdbTarget)
        ready = ReadyBoard(found, recipe, look, found.name, up.config)
        time.sleep(REST_SECONDS)
        facts["idle PSS, MB"] = round(ready.pss() / 1e6, 1)
        yield ready
