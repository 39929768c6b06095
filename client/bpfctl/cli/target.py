# SPDX-License-Identifier: Apache-2.0
"""`bpfctl target`: named targets and what they are."""

from __future__ import annotations

import dataclasses
import os

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup


@click.group(
    cls=LazyGroup,
    entries={
        "add": Entry("target", "Give a target a name.", "add"),
        "list": Entry("target", "Named targets.", "list_targets"),
        "info": Entry("target", "What a target is and what its kernel can do.", "info"),
        "up": Entry("target_daemon", "Put a daemon on a target and start it.", "up"),
        "down": Entry("target_daemon", "Stop the daemon of a target.", "down"),
        "upgrade": Entry(
            "target_daemon", "Replace the daemon, with nothing detached.", "upgrade"
        ),
        "purge": Entry("target_daemon", "Remove all that is on a target.", "purge"),
        "remove": Entry("target", "Forget a target.", "remove"),
    },
)
def command() -> None:
    """Targets that -t names. `local` is this machine and needs no entry.

    Many commands take several: -t a,b,c or -t group:GROUP.
    """


@click.command()
@click.argument("name")
@click.option(
    "--local",
    "local",
    is_flag=False,
    flag_value="",
    metavar="[SOCKET]",
    help="A daemon of this machine, by its socket.",
)
@click.option("--ssh", metavar="[USER@]HOST[:PORT]", help="Through SSH, as ~/.ssh/config says.")
@click.option(
    "--command",
    "dial",
    metavar="COMMAND",
    help="With --ssh: what to run there [bpfd dial-stdio].",
)
@click.option(
    "-i",
    "--identity",
    type=click.Path(exists=True, dir_okay=False),
    help="With --ssh: a private key.",
)
@click.option(
    "--known-hosts",
    type=click.Path(dir_okay=False),
    help="With --ssh: file of host keys, in place of the usual ones.",
)
@click.option(
    "--adb",
    is_flag=False,
    flag_value="",
    metavar="[SERIAL]",
    help="A device of the Android debug bridge [ANDROID_SERIAL, the only one].",
)
@click.option("--tcp", metavar="HOST:PORT", help="Through TCP with mutual TLS.")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="With --tcp: CA.")
@click.option(
    "--cert", type=click.Path(exists=True, dir_okay=False), help="With --tcp: own certificate."
)
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False), help="With --tcp: its private key."
)
@click.option("--replace", is_flag=True, help="Overwrite a target of that name.")
@click.option(
    "--group",
    "into",
    multiple=True,
    metavar="GROUP",
    help="Put it into a group, for -t group:GROUP; alone: one that has its name already.",
)
def add(
    name: str,
    local: str | None,
    ssh: str | None,
    dial: str | None,
    identity: str | None,
    known_hosts: str | None,
    adb: str | None,
    tcp: str | None,
    ca: str | None,
    cert: str | None,
    key: str | None,
    replace: bool,
    into: tuple[str, ...],
) -> None:
    """Give a target a name; nothing is connected yet."""
    from bpfctl import config, groups

    ways = sum(way is not None for way in (local, ssh, adb, tcp))
    if into and ways == 0:
        groups.join(config.resolve(name)[0], into)
        click.echo(f"{name}: in {', '.join(into)}")
        return
    config.check_name(name)
    for group in into:
        config.check_name(group, "group name")
    if ways != 1:
        raise click.UsageError("say one of --local, --ssh, --adb and --tcp")
    if tcp is None and (ca or cert or key):
        raise click.UsageError("--ca, --cert and --key belong to --tcp")
    if ssh is None and (dial or identity or known_hosts):
        raise click.UsageError("--command, --identity and --known-hosts belong to --ssh")
    entry: config.TargetConfig
    if ssh is not None:
        entry = dataclasses.replace(
            config.parse_ssh(ssh, dial or config.DEFAULT_DIAL),
            identity=_absolute(identity),
            known_hosts=_absolute(known_hosts),
        )
    elif adb is not None:
        entry = config.AdbTarget(adb)
    elif tcp is not None:
        if not (ca and cert and key):
            raise click.UsageError("--tcp needs --ca, --cert and --key: see `bpfctl pki`")
        host, port = config.parse_host(tcp, config.DEFAULT_TCP_PORT)
        entry = config.TcpTarget(host, port, _absolute(ca), _absolute(cert), _absolute(key))
    else:
        entry = config.LocalTarget(os.path.abspath(local or config.default_socket()))
    with config.changing_targets() as targets:
        if name in targets and not replace:
            raise click.UsageError(
                f"there is a target {name!r} already; --replace overwrites it"
            )
        targets[name] = entry
    if into:
        groups.join(name, into)
    where = f" (in {config.targets_file()})"
    click.echo(f"{name}: {entry.transport} {entry.address}{where}")


def _absolute(path: str | None) -> str:
    return os.path.abspath(os.path.expanduser(path)) if path else ""


@click.command()
@click.argument("name")
@click.option(
    "--group", "out_of", multiple=True, metavar="GROUP", help="Only take it out of a group."
)
def remove(name: str, out_of: tuple[str, ...]) -> None:
    """Forget a target; nothing happens on it."""
    from bpfctl import config, groups
    from bpfctl.errors import NotFound

    if out_of:
        groups.leave(name, out_of)
        return
    with config.changing_targets() as targets:
        if name not in targets:
            raise NotFound("target", name, hint="`bpfctl target list` shows all")
        del targets[name]
    groups.forget(name)


@click.command("list")
@common_options()
@pass_invocation
def list_targets(invocation: Invocation) -> None:
    """Named targets, `local` first."""
    from bpfctl import config, groups

    targets = config.load_targets()
    targets = {config.DEFAULT_TARGET: config.resolve(config.DEFAULT_TARGET)[1], **targets}
    known = groups.load_groups()
    invocation.output.rows(
        {
            "name": name,
            "transport": entry.transport,
            "address": entry.address,
            "groups": groups.of(name, known),
        }
        for name, entry in targets.items()
    )


@click.command()
@click.argument("name", required=False)
@common_options()
@pass_invocation
def info(invocation: Invocation, name: str | None) -> None:
    """What a target is and what its kernel can do, each feature with how it was probed."""
    from bpfctl.listing import target_row

    invocation.take(name, None, False)
    found = invocation.each(lambda target: target_row(target.info(features=True)))
    if invocation.format != "table":
        invocation.records(found)
        return
    for number, (target, row) in enumerate(found.items()):
        features = row.pop("features")
        if number:
            click.echo()
        invocation.records({target: row})
        click.echo()
        invocation.output.rows(features, ["feature", "supported", "since", "probe", "needs"])
