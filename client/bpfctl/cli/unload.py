# SPDX-License-Identifier: Apache-2.0
"""`bpfctl unload`: an object's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation

if TYPE_CHECKING:
    from bpfctl.target import Target


@click.command()
@click.argument("names", metavar="OBJECT...", nargs=-1, required=True)
@common_options(output=False)
@pass_invocation
def command(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Detach the links of objects and drop their programs, maps and pins."""

    def unload(target: Target) -> None:
        for name in names:
            links = target.unload(name)
            detached = f", detached {', '.join(links)}" if links else ""
            invocation.say(f"unloaded {name}{detached}", target)

    invocation.each(unload)
