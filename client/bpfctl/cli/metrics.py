# SPDX-License-Identifier: Apache-2.0
"""`bpfctl metrics`: the page that `bpfd serve --metrics` has on a port."""

from __future__ import annotations

import sys

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation


@click.command()
@common_options(output=False)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Show the metrics of a target as OpenMetrics text.

    They are what loaded packages declare of their maps ([[metrics]] of package.toml), and the
    daemon's own. The target needs no open port for it.
    """
    from bpfctl.metrics import page

    with invocation.connect() as target:
        for piece in page(target):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
