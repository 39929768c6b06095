# SPDX-License-Identifier: Apache-2.0
"""`bpfctl build`: compile for a target."""

from __future__ import annotations

from pathlib import Path

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.source import BuildSettings, build_options


@click.command()
@click.argument("source", metavar="FILE.bpf.c|PACKAGE")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the object goes [the source's name with .o, here].",
)
@build_options
@common_options(output=False)
@pass_invocation
def command(
    invocation: Invocation, source: str, out: Path | None, build: BuildSettings
) -> None:
    """Compile BPF C for a target: for its architecture, against its kernel's types."""
    from bpfctl.cli.source import make

    with invocation.connect() as target:
        made = make(invocation, target, source, build)
    if made.built is None:
        raise click.UsageError(f"{source} is an object already")
    path = out or Path(f"{made.name}.bpf.o")
    path.write_bytes(made.elf)
    how = "from the cache" if made.built.cached else "compiled"
    click.echo(f"{path}: {len(made.elf)} bytes, {how}")
