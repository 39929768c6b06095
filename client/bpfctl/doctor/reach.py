# SPDX-License-Identifier: Apache-2.0
"""Why a target's daemon cannot be reached: how far one gets, and what helps there."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl import config, errors
from bpfctl.doctor.check import Check

GROUP = "reach"

REACHING = (errors.TargetUnreachable, errors.ApiMismatch, errors.PermissionMissing)
"""Errors of a connection that say something of the target."""


def checks(
    name: str, entry: config.TargetConfig, error: errors.BpfctlError, timeout: float = 10.0
) -> Iterator[Check]:
    """The steps to the daemon, up to the one that failed with `error`.

    Over ssh and adb the login is tried once more by itself, to tell it from the daemon.
    """
    yield Check(GROUP, "target", "ok", f"{name} is {entry.transport} {entry.address}")
    failed = error
    if isinstance(entry, config.SshTarget | config.AdbTarget):
        refused = _login(name, entry, timeout)
        if refused is not None:
            yield _failure(f"{entry.transport} login", refused, _login_remedy(entry))
            return
        yield Check(GROUP, f"{entry.transport} login", "ok", "a shell answers there")
    yield _failure("daemon", failed, _daemon_remedy(name, entry))


def _login(name: str, entry: config.TargetConfig, timeout: float) -> errors.BpfctlError | None:
    from bpfctl.bootstrap.shell import open_shell

    try:
        shell = open_shell(name, entry, timeout)
    except errors.BpfctlError as error:
        return error
    try:
        done = shell.run("true", timeout=timeout)
    except errors.BpfctlError as error:
        return error
    finally:
        shell.close()
    if done.status != 0:
        return errors.TargetUnreachable(name, f"its shell does not run commands: {done.words}")
    return None


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
