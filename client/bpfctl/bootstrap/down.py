# SPDX-License-Identifier: Apache-2.0
"""`target down` stops a daemon; `target purge` leaves the target as it was before."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass

from bpfctl.bootstrap import daemon, scripts
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.shell import Shell, open_shell
from bpfctl.bootstrap.up import look
from bpfctl.config import AdbTarget, SshTarget, TargetConfig
from bpfctl.errors import BpfctlError, NotFound

_PURGE_SECONDS = 180.0


@dataclass(frozen=True)
class Down:
    """How a target's daemon was stopped."""

    home: str
    stopped: bool
    """False: it was not running."""
    sessions: int = 0
    """Sessions that ended with it."""
    pinned: tuple[str, ...] = ()
    """Objects that stay, attached as they were."""


@dataclass(frozen=True)
class Purged:
    """What was removed from a target."""

    config: TargetConfig
    """Without a home, to be kept under the target's name."""
    homes: tuple[str, ...]
    said: tuple[str, ...]
    """What was detached and removed from the kernel, in the bundle's words."""
    failed: tuple[str, ...]
    """Why the bundle did not remove it; all that is pinned was removed without it then."""
    left: tuple[str, ...]
    """What could not be removed; empty: the target is as it was."""


def down(name: str, config: TargetConfig, *, timeout: float = 10.0) -> Down:
    """Stops the daemon that `up` started. Sessions end, what is pinned stays attached.

    Raises NotFound where none was put, and the kinds of `bpfctl.errors`.
    """
    with closing(open_shell(name, config, timeout)) as shell:
        home = _homes(shell, config)[0]
        sessions, pinned = _held(shell, home)
        stopped = daemon.stop(shell, home)
        return Down(home, stopped, sessions, pinned)


def purge(name: str, config: TargetConfig, *, timeout: float = 10.0) -> Purged:
    """Detaches and removes everything that was put there; a broken daemon is no obstacle.

    Raises NotFound where nothing is.
    """
    with closing(open_shell(name, config, timeout)) as shell:
        homes = _homes(shell, config)
        lines: dict[str, list[str]] = {"said": [], "failed": [], "left": []}
        for home in homes:
            daemon.stop(shell, home)
            done = scripts.run(shell, "purge", home, timeout=_PURGE_SECONDS)
            if done.status != 0:
                raise BootstrapFailed(name, f"{home} cannot be removed: {done.words}")
            for line in done.text.splitlines():
                kind, _, words = line.partition(" ")
                lines[kind].append(words)
        assert isinstance(config, SshTarget | AdbTarget)
        without = dataclasses.replace(config, home="")
        said, failed, left = (tuple(lines[kind]) for kind in ("said", "failed", "left"))
        return Purged(without, tuple(homes), said, failed, left)


def _homes(shell: Shell, config: TargetConfig) -> list[str]:
    """The target's home; where it is not known, all that are at usual places."""
    assert isinstance(config, SshTarget | AdbTarget)
    facts, home = look(shell, config)
    if home is None:
        hint = "`bpfctl target up` puts one there"
        if facts.installed:
            hint = f"{facts.installed} was installed by other means, which also remove it"
        raise NotFound("daemon of ours on target", shell.name, hint=hint)
    if home.path == config.home:
        return [home.path]
    return [each.path for each in facts.homes]


def _held(shell: Shell, home: str) -> tuple[int, tuple[str, ...]]:
    """(sessions, pinned objects) of a daemon; nothing where it does not answer."""
    try:
        with daemon.asked(shell, home, timeout=5) as target:
            pinned = [
                each.name
                for each in target.objects()
                if each.message.lifetime.WhichOneof("kind") == "pinned"
            ]
            return target.info().open_sessions, tuple(pinned)
    except BpfctlError:
        return 0, ()
