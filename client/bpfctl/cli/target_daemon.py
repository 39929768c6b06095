# SPDX-License-Identifier: Apache-2.0
"""`bpfctl target up|down|upgrade|purge`: daemons on targets where nothing is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation

if TYPE_CHECKING:
    from bpfctl.bootstrap import Wanted
    from bpfctl.config import TargetConfig
    from bpfd.v1 import target_pb2

F = TypeVar("F", bound=Callable[..., Any])


def _bundle_options(function: F) -> F:
    for option in (
        click.option(
            "--arch",
            type=click.Choice(["amd64", "arm64", "armhf", "riscv64"]),
            help="Architecture of the bundle [as the target says].",
        ),
        click.option(
            "--bundle",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A bundle's file [built, or from the cache].",
        ),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("name", required=False)
@_bundle_options
@click.option("--home", metavar="DIR", help="Folder there, of its own [the best one].")
@common_options(output=False)
@pass_invocation
def up(
    invocation: Invocation,
    name: str | None,
    arch: str | None,
    bundle: Path | None,
    home: str | None,
) -> None:
    """Put a daemon on a target and start it; what is there already is used.

    The target needs /bin/sh, tar and gzip, and root's rights.
    """
    from bpfctl import bootstrap
    from bpfctl.cli.progress import shown

    name, config = _named(invocation, name)
    with shown() as progress:
        done = bootstrap.up(name, config, _wanted(bundle, arch, home), progress=progress)
    _keep_home(name, done.config)
    verb = "has been started" if done.started else "runs already"
    where = "an installed daemon" if done.installed else getattr(done.config, "home", "")
    sent = f", {done.sent / 1e6:.1f} MB sent" if done.sent else ""
    invocation.say(f"{name}: {_daemon(done.info)} {verb} ({where}{sent})")


@click.command()
@click.argument("name", required=False)
@common_options(output=False)
@pass_invocation
def down(invocation: Invocation, name: str | None) -> None:
    """Stop the daemon of a target; what is pinned stays attached."""
    from bpfctl import bootstrap

    name, config = _named(invocation, name)
    done = bootstrap.down(name, config)
    if not done.stopped:
        invocation.say(f"{name}: the daemon was not running")
        return
    ended = f", {_count(done.sessions, 'session')} ended" if done.sessions else ""
    invocation.say(f"{name}: the daemon is stopped{ended}")
    if done.pinned:
        invocation.say(
            f"{_count(len(done.pinned), 'object')} "
            f"{'stays as it is' if len(done.pinned) == 1 else 'stay as they are'}: "
            f"{', '.join(done.pinned)}; "
            f"`bpfctl target up {name}` takes them up again, `bpfctl target purge {name}` "
            "removes them"
        )


@click.command()
@click.argument("name", required=False)
@_bundle_options
@click.option("--force", is_flag=True, help="End sessions that are open.")
@common_options(output=False)
@pass_invocation
def upgrade(
    invocation: Invocation,
    name: str | None,
    arch: str | None,
    bundle: Path | None,
    force: bool,
) -> None:
    """Replace the daemon by this bpfctl's; what is pinned stays attached all the time."""
    from bpfctl import bootstrap
    from bpfctl.cli.progress import shown

    name, config = _named(invocation, name)
    with shown() as progress:
        done = bootstrap.upgrade(
            name, config, _wanted(bundle, arch, None), force=force, progress=progress
        )
    _keep_home(name, done.config)
    if done.changed:
        instead = f" in place of {done.before}" if done.before else ""
        invocation.say(f"{name}: {_daemon(done.info)} runs{instead}")
    else:
        invocation.say(f"{name}: it has that bundle already, {_daemon(done.info)} runs")


@click.command()
@click.argument("name", required=False)
@common_options(output=False)
@pass_invocation
def purge(invocation: Invocation, name: str | None) -> None:
    """Detach and remove all that is on a target, the daemon included."""
    from bpfctl import bootstrap

    name, config = _named(invocation, name)
    done = bootstrap.purge(name, config)
    _keep_home(name, done.config)
    for words in done.said:
        invocation.say(f"{name}: {words}")
    for words in done.failed:
        invocation.warn(f"the daemon of {name} could not clean up: {words}")
    if done.left:
        for words in done.left:
            invocation.warn(f"left on {name}: {words}")
        raise click.exceptions.Exit(1)
    invocation.say(f"{name}: nothing of bpfd is left ({', '.join(done.homes)} removed)")


def _named(invocation: Invocation, name: str | None) -> tuple[str, TargetConfig]:
    """A target that stands in targets.toml: its home is kept there."""
    from bpfctl import config

    invocation.take(name, None, False)
    found, entry = config.resolve(invocation.target)
    has_shell = isinstance(entry, config.SshTarget | config.AdbTarget)
    if has_shell and found not in config.load_targets():
        way = f"--{entry.transport} {found.partition(':')[2].lstrip('/')}".strip()
        raise click.UsageError(f"give it a name first: `bpfctl target add NAME {way}`")
    return found, entry


def _wanted(bundle: Path | None, arch: str | None, home: str | None) -> Wanted:
    from bpfctl.bootstrap import Wanted

    return Wanted(bundle, arch or "", (home or "").rstrip("/"))


def _keep_home(name: str, entry: TargetConfig) -> None:
    from bpfctl import config

    if config.load_targets().get(name) != entry:
        with config.changing_targets() as targets:
            targets[name] = entry


def _daemon(info: target_pb2.TargetInfo) -> str:
    return (
        f"bpfd {info.daemon_version} on {info.hostname or 'it'} "
        f"({info.machine}, Linux {info.kernel_release})"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
