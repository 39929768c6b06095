# SPDX-License-Identifier: Apache-2.0
"""`bpfctl profile diff` and `convert`: profiles that are files."""

from __future__ import annotations

from pathlib import Path

import click

from bpfctl.cli.invocation import Invocation, pass_invocation

_FILE = click.Path(path_type=Path)
_READ = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("before", type=_READ)
@click.argument("after", type=_READ)
@click.option(
    "-o", "--output", "into", type=_FILE, required=True, help="A file, .html or .svg."
)
@pass_invocation
def diff(invocation: Invocation, before: Path, after: Path, into: Path) -> None:
    """A flame graph of AFTER, coloured by what became more (red) and less (blue) than BEFORE.

    Both are .folded or .pb.gz and count the same. BEFORE is scaled to the sum of AFTER, so that
    a longer profile is not more of everything.
    """
    from bpfctl.profiles import differential, files

    files.check(into, differential=True)
    files.write_graph(differential.of(files.read(before), files.read(after)), into)
    invocation.say(f"written: {into}")


@click.command()
@click.argument("profile", type=_READ)
@click.argument("into", type=_FILE)
@click.option(
    "--unit",
    help="What the values are, where the file does not say: samples, nanoseconds, bytes.",
)
@pass_invocation
def convert(invocation: Invocation, profile: Path, into: Path, unit: str | None) -> None:
    """Write PROFILE (.folded or .pb.gz, of bpfctl or of other tools) as INTO, whose name says
    the format: .html, .svg, .folded, .pb.gz or .perfetto.

    Folded stacks have less in them than other formats: no files, modules, times or losses.
    """
    from bpfctl.profiles import files

    files.check(into)
    found = files.read(profile)
    found.unit = unit or found.unit
    files.write(found, into)
    invocation.say(f"written: {into}")
