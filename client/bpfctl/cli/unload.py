# SPDX-License-Identifier: Apache-2.0
"""`bpfctl unload`: an object's end."""

from __future__ import annotations

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation


@click.command()
@click.argument("names", metavar="OBJECT...", nargs=-1, required=True)
@common_options(output=False)
@pass_invocation
def command(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Detach the links of objects and drop their programs, maps and pins."""
    with invocation.connect() as target:
        for name in names:
            links = target.unload(name)
            detached = f", detached {', '.join(links)}" if links else ""
            invocation.say(f"unloaded {name}{detached}")
