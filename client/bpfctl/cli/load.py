# SPDX-License-Identifier: Apache-2.0
"""`bpfctl load`: an object that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.source import BuildSettings, SettingTexts, build_options, setting_options
from bpfctl.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpfctl.cli.source import Source
    from bpfctl.output import Row
    from bpfctl.target import Target
    from bpfd.v1 import objects_pb2


@click.command()
@click.argument("source", metavar="FILE.bpf.c|FILE.o|PACKAGE")
@click.option("--name", help="Name of the object [the file's, without .bpf.c or .o].")
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of an object of that name: its maps stay, its links move over.",
)
@click.option(
    "--verify-only", is_flag=True, help="Load and throw away: what the verifier says of it."
)
@setting_options
@build_options
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    source: str,
    name: str | None,
    replace: bool,
    verify_only: bool,
    settings: SettingTexts,
    build: BuildSettings,
) -> None:
    """Load an object; it stays, pinned under its name, until `bpfctl unload`.

    A C file or a package is compiled for the target first. Nothing is attached yet.
    """
    from bpfctl.cli.source import make

    if verify_only:
        with invocation.connect() as target:
            _verify(invocation, target, make(invocation, target, source, build), settings)
        return

    def load(target: Target) -> Row:
        made = make(invocation, target, source, build)
        return _load(invocation, target, made, settings, name or made.name, replace)

    rows = invocation.each(load)
    if invocation.format != "table":
        invocation.records(rows)


def _load(
    invocation: Invocation,
    target: Target,
    made: Source,
    texts: SettingTexts,
    name: str,
    replace: bool,
) -> Row:
    """Loads, and says so; the object's row."""
    from bpfctl.cli.failures import with_object
    from bpfctl.cli.source import load_settings
    from bpfctl.listing import object_row

    settings = load_settings(made, texts)
    with with_object(made.elf):
        loaded = target.load(made.elf, name, settings=settings, replace=replace)
    for warning in loaded.warnings:
        invocation.warn(warning, target)
    _show_logs(loaded.logs)
    if invocation.format == "table":
        lines = [f"loaded {loaded.name}"]
        for program in loaded.message.programs:
            lines.append(f"  program {program.name} (id {program.id}, {program.section})")
        for entry in loaded.message.maps:
            lines.append(f"  map {entry.name} (id {entry.id}{', reused' * entry.reused})")
        if left_out := _left_out(made.elf, {item.name for item in loaded.message.programs}):
            names = ", ".join(left_out)
            lines.append(f"  not loaded, as their sections say: {names} (see --program)")
        invocation.say_all(lines, target)
    return object_row(loaded.message)


def _left_out(elf: bytes, loaded: set[str]) -> list[str]:
    """Programs that load only when asked for, and were not: of sections with a "?"."""
    if b"\0?" not in elf:
        return []
    from bpfctl.elf import ObjectFile

    return [
        program.name
        for program in ObjectFile.parse(elf).programs
        if program.section.startswith("?") and program.name not in loaded
    ]


def _show_logs(logs: Iterable[objects_pb2.ProgramLog]) -> None:
    for log in logs:
        if log.log:
            text = f"--- verifier log of {log.program}\n{log.log.rstrip()}"
            click.echo(printable(text, keep="\n\t"), err=True)


def _verify(invocation: Invocation, target: Target, made: Source, texts: SettingTexts) -> None:
    """Rows on each program that would be loaded; raises the first refusal or error."""
    from bpfctl.cli.failures import Refused
    from bpfctl.cli.source import load_settings
    from bpfctl.elf import ObjectFile
    from bpfctl.verifier import choice, statistics
    from bpfctl.verifier.run import verify

    settings = load_settings(made, texts)
    names = [
        program.name
        for program in ObjectFile.parse(made.elf).programs
        if program.name not in settings.skip
        and (program.name in texts.also or not choice.off(program.section))
    ]
    found = list(verify(target, made.name, made.elf, settings, names))
    if texts.log_level:
        _show_logs(each.message.log for each in found if each.message.accepted)
    rows = [each.row() for each in found]
    if invocation.format == "table":
        rows = [statistics.for_table(row) for row in rows]
    invocation.output.rows(rows)
    for each in found:
        if each.refusal is not None:
            raise Refused(each.refusal, made.elf)
        if each.error is not None:
            raise each.error
