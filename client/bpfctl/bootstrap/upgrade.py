# SPDX-License-Identifier: Apache-2.0
"""`target upgrade`: another bundle in place of the one that runs, with nothing detached."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.bootstrap import daemon, scripts
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import Home
from bpfctl.bootstrap.shell import Shell, open_shell
from bpfctl.bootstrap.up import (
    USUAL,
    Wanted,
    bring,
    check_rights,
    choose_bundle,
    look,
    make_current,
)
from bpfctl.config import AdbTarget, SshTarget, TargetConfig
from bpfctl.errors import BpfctlError, NotFound
from bpfctl.progress import Progress, silent

if TYPE_CHECKING:
    from bpfd.v1 import target_pb2


@dataclass(frozen=True)
class Upgraded:
    """A target with the bundle that was asked for."""

    config: TargetConfig
    info: target_pb2.TargetInfo
    before: str
    """Version that ran before; empty: none was running."""
    changed: bool
    """False: it had that bundle already."""


def upgrade(
    name: str,
    config: TargetConfig,
    wanted: Wanted = USUAL,
    *,
    force: bool = False,
    progress: Progress = silent,
    timeout: float = 10.0,
) -> Upgraded:
    """Replaces the daemon that `up` started; what is pinned stays attached all the time.

    The old daemon comes back when the new one does not answer. Sessions would end with the
    old one: while there are any, it raises BootstrapFailed unless `force`.
    """
    with closing(open_shell(name, config, timeout)) as shell:
        assert isinstance(config, SshTarget | AdbTarget)
        facts, home = look(shell, config)
        if home is None:
            raise NotFound("daemon of ours on target", name, hint="see `bpfctl target up`")
        check_rights(shell, facts)
        bundle = choose_bundle(shell, facts, wanted, progress)
        before = _check_sessions(shell, home, force)
        changed = home.current != bundle.sha256
        if changed or not home.pid:
            bring(shell, facts, home, bundle, progress)
            _check_sessions(shell, home, force)
            _exchange(shell, home, bundle.sha256)
        with daemon.asked(shell, home.path) as target:
            info = target.info()
        return Upgraded(dataclasses.replace(config, home=home.path), info, before, changed)


def _check_sessions(shell: Shell, home: Home, force: bool) -> str:
    """The version that runs; raises BootstrapFailed when it has sessions, unless forced."""
    if not home.pid:
        return ""
    try:
        with daemon.asked(shell, home.path) as target:
            info = target.info()
    except BpfctlError:
        # One that does not answer is the best reason for another.
        return ""
    if info.open_sessions and not force:
        raise BootstrapFailed(
            shell.name,
            f"clients have {info.open_sessions} open session(s), which would end with the old "
            "daemon and take along all that they have attached",
            "wait for them, or say --force",
        )
    return info.daemon_version


def _exchange(shell: Shell, home: Home, sha256: str) -> None:
    """Stops the old daemon and starts the new one; on failure the other way round."""
    daemon.stop(shell, home.path)
    try:
        daemon.start(shell, home.path, sha256)
        with daemon.asked(shell, home.path):
            pass
    except (BootstrapFailed, BpfctlError) as error:
        raise _rolled_back(shell, home, sha256, error) from None
    make_current(shell, home.path, sha256)


def _rolled_back(shell: Shell, home: Home, sha256: str, error: Exception) -> BootstrapFailed:
    why = error.why if isinstance(error, BootstrapFailed) else str(error)
    if not home.current or home.current == sha256:
        return BootstrapFailed(shell.name, why)
    daemon.stop(shell, home.path)
    daemon.start(shell, home.path, home.current)
    scripts.run(shell, "choose", home.path, home.current)
    return BootstrapFailed(shell.name, f"the new daemon failed, the old one is back: {why}")
