# SPDX-License-Identifier: Apache-2.0
"""Why a target's daemon cannot be reached: how far one gets, and what helps there."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl import config, errors
from bpfctl.doctor.check import Check

GROUP = "reach"

REACHING = (errors.TargetUnreachable, errors.ApiMismatch, errors.PermissionMissing)
"""Errors of a connection that say something of the target."""


def checks(name: str, entry: config.TargetConfig, error: errors.BpfctlError) -> Iterator[Check]:
    """The steps to the daemon, up to the one that failed with `error`."""
    yield Check(GROUP, "target", "ok", f"{name} is {entry.transport} {entry.address}")
    if isinstance(entry, config.SshTarget | config.AdbTarget):
        login = f"{entry.transport} login"
        if isinstance(error, errors.TargetUnreachable) and error.before_daemon:
            yield _failure(login, error, _login_remedy(entry))
            return
        yield Check(GROUP, login, "ok", "the machine lets this client in")
    yield _failure("daemon", error, _daemon_remedy(name, entry))


def _failure(step: str, error: errors.BpfctlError, remedy: str) -> Check:
    if isinstance(error, errors.TargetUnreachable | errors.ApiMismatch):
        reason, remedy = error.why, error.hint or remedy
    else:
        reason = str(error)
    return Check(GROUP, step, "missing", reason, remedy, essential=True)


def _login_remedy(entry: config.TargetConfig) -> str:
    if isinstance(entry, config.SshTarget):
        return f"try `ssh {entry.user + '@' if entry.user else ''}{entry.host}` by itself"
    return "`adb devices` shows what is connected; `adb root`, or a su, gives root's shell"


def _daemon_remedy(name: str, entry: config.TargetConfig) -> str:
    if isinstance(entry, config.SshTarget | config.AdbTarget):
        return f"`bpfctl target up {name}` puts a daemon there and starts it"
    if isinstance(entry, config.TcpTarget):
        return "is `bpfd serve --listen` running there, with a certificate of the same CA?"
    return "`bpfd serve` as root starts it"
