# SPDX-License-Identifier: Apache-2.0
"""What bootstrapping needs of a way to a target: a shell there, and its unix sockets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bpfctl.config import AdbTarget, SshTarget, TargetConfig
from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from bpfctl.transport.bridge import RemoteCommand

RUN_SECONDS = 60.0
"""How long a script may be silent, unless more is given."""

_MAX_LINES = 3


@dataclass(frozen=True)
class Completed:
    """How a script on the target ended; its output is at most a few MiB."""

    status: int
    """0 to 255; -1: a signal ended it, or it is not known."""
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output."""
        return self.stdout.decode(errors="replace")

    @property
    def words(self) -> str:
        """What it said on standard error, else how it ended, in one line of some words."""
        lines = [line.strip() for line in self.stderr.decode(errors="replace").split("\n")]
        lines = [line for line in lines if line]
        if len(lines) > _MAX_LINES:
            lines = [*lines[: _MAX_LINES - 1], lines[-1]]
        return "; ".join(lines) or f"exit status {self.status}"


class Shell(Protocol):
    """A connection to a target on which scripts run and sockets are dialled."""

    name: str
    """The target's, for texts."""

    def run(
        self, script: str, stdin: bytes | Iterable[bytes] = b"", *, timeout: float = RUN_SECONDS
    ) -> Completed:
        """Run a script of POSIX sh, in `/bin/sh` whatever the login shell is.

        `stdin` is taken piece by piece as the far side reads it, then standard input ends
        there; when the script ends before, the rest is left. `timeout`: seconds without a
        byte in either direction. Raises TargetUnreachable when the connection breaks.
        """
        ...

    def dial(self, socket_path: str, fallback: str) -> RemoteCommand:
        """Connect to a unix socket there.

        Where the way has no means for it, the script `fallback` runs in place of it, with
        its standard input and output as the connection. Raises OSError, or what its library
        raises, when nobody listens.
        """
        ...

    def close(self) -> None:
        """Give back everything; a second call does nothing."""
        ...


def open_shell(name: str, config: TargetConfig, timeout: float = 10.0) -> Shell:
    """A shell on the target `name`; raises TargetUnreachable within `timeout` seconds.

    Raises InvalidArgument for targets that have none (local and tcp).
    """
    if isinstance(config, SshTarget):
        from bpfctl.ssh.shell import SshShell

        return SshShell(name, config, timeout)
    if isinstance(config, AdbTarget):
        from bpfctl.adb.shell import AdbShell

        return AdbShell(name, config, timeout)
    raise InvalidArgument(
        f"target {name}",
        f"it is reached by {config.transport}: only targets with --ssh or --adb have a shell "
        "to put a daemon there",
    )
