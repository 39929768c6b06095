# SPDX-License-Identifier: Apache-2.0
"""Daemons that were installed on a target by other means: pip, a package, a systemd unit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import Facts
from bpfctl.bootstrap.shell import Shell
from bpfctl.config import DEFAULT_DIAL, AdbTarget, SshTarget
from bpfctl.errors import TargetUnreachable

if TYPE_CHECKING:
    from bpfd.v1 import target_pb2

_READY_SECONDS = 20.0

# Prints "unit" when systemd has one and has started it.
_START_UNIT = """\
[ -d /run/systemd/system ] || exit 0
systemctl cat bpfd.service >/dev/null 2>&1 || exit 0
systemctl start bpfd.service && echo unit
"""


@dataclass(frozen=True)
class Installed:
    """One that answers."""

    info: target_pb2.TargetInfo
    started: bool
    """Whether it was started for that."""


def find(shell: Shell, config: SshTarget | AdbTarget, facts: Facts) -> Installed | None:
    """The installed daemon of a target, started if need be; None: none is installed.

    Raises BootstrapFailed when it does not answer.
    """
    if not isinstance(config, SshTarget):
        return None
    if not facts.installed and config.command == DEFAULT_DIAL:
        return None
    try:
        return Installed(_info(shell.name, config), started=False)
    except TargetUnreachable as error:
        why = error.why
    done = shell.run(_START_UNIT)
    if done.status != 0:
        raise BootstrapFailed(
            shell.name,
            f"the installed daemon does not start: {done.words}",
            "`journalctl -u bpfd` there says more",
        )
    if done.text.strip() != "unit":
        raise BootstrapFailed(
            shell.name,
            f"bpfd is installed ({facts.installed or config.command}) and does not answer: "
            f"{why}",
            "start it there with `bpfd serve`; --home DIR puts another daemon beside it",
        )
    until = time.monotonic() + _READY_SECONDS
    while True:
        try:
            return Installed(_info(shell.name, config), started=True)
        except TargetUnreachable:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _info(name: str, config: SshTarget) -> target_pb2.TargetInfo:
    from bpfctl.target import Target

    with Target.open(name, config) as target:
        return target.info()
