# SPDX-License-Identifier: Apache-2.0
"""`bpfctl detach`: a link's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation

if TYPE_CHECKING:
    from bpfctl.target import Target


@click.command()
@click.argument("links", metavar="LINK...", nargs=-1, required=True)
@common_options(output=False)
@pass_invocation
def command(invocation: Invocation, links: tuple[str, ...]) -> None:
    """Detach links, by their names or the kernel ids of links of the daemon."""

    def detach(target: Target) -> None:
        for link in links:
            gone = target.detach(int(link) if link.isdecimal() else link)
            invocation.say(f"detached {gone.name}", target)

    invocation.each(detach)
