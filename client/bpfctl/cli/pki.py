# SPDX-License-Identifier: Apache-2.0
"""`bpfctl pki`: certificates for targets over TCP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from bpfctl.cli.lazy import Entry, LazyGroup

if TYPE_CHECKING:
    from bpfctl.pki import Issued, Role

folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the CA [pki in the config folder].",
)


@click.group(
    cls=LazyGroup,
    entries={
        "init": Entry("pki", "Make a certificate authority.", "init"),
        "issue": Entry("pki", "Issue a certificate for a daemon or a client.", "issue"),
    },
)
def command() -> None:
    """A small certificate authority: TCP targets know each other by it."""


def _folder(folder: Path | None) -> Path:
    from bpfctl.config import config_dir

    return folder or config_dir() / "pki"


@click.command()
@folder_option
@click.option("--name", default="bpfd", show_default=True, help="Name of the CA.")
@click.option("--days", default=3650, show_default=True, help="How long it is valid.")
def init(folder: Path | None, name: str, days: int) -> None:
    """Make a certificate authority: ca.crt for everyone, ca.key for nobody else."""
    from bpfctl import pki

    _say(pki.init(_folder(folder), name, days))


@click.command()
@click.argument("name")
@click.option("--server", is_flag=True, help="For a daemon; say --host.")
@click.option("--client", is_flag=True, help="For a client; say --role.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME|ADDRESS",
    help="What clients connect to; may be given several times.",
)
@click.option(
    "--role",
    type=click.Choice(["viewer", "tracer", "operator", "admin"]),
    help="What the client may do.",
)
@click.option("--days", default=365, show_default=True, help="How long it is valid.")
@folder_option
def issue(
    name: str,
    server: bool,
    client: bool,
    hosts: tuple[str, ...],
    role: str | None,
    days: int,
    folder: Path | None,
) -> None:
    """Issue NAME.crt and NAME.key, signed by the CA."""
    from bpfctl import pki

    if server == client:
        raise click.UsageError("say --server or --client")
    if server:
        if not hosts:
            raise click.UsageError("--server needs --host, what clients connect to")
        if role:
            raise click.UsageError("--role belongs to --client")
        _say(pki.issue_server(_folder(folder), name, hosts, days))
        return
    if not role:
        raise click.UsageError("--client needs --role")
    if hosts:
        raise click.UsageError("--host belongs to --server")
    _say(pki.issue_client(_folder(folder), name, cast("Role", role), days))


def _say(issued: Issued) -> None:
    click.echo(f"{issued.certificate}\n{issued.key}\nvalid until {issued.not_after:%Y-%m-%d}")
