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
    """Rows on each program; raises the first refusal."""
    from bpfctl.cli.failures import with_object
    from bpfctl.cli.source import load_settings
    from bpfctl.errors import VerifierRejected

    with with_object(made.elf):
        answer = target.verify(made.elf, load_settings(made, texts))
        if texts.log_level:
            _show_logs(program.log for program in answer.programs if program.accepted)
        rows = []
        for program in answer.programs:
            said = program.log.statistics
            rows.append(
                {
                    "program": program.log.program,
                    "accepted": program.accepted,
                    "processed_insns": said.processed_insns,
                    "total_states": said.total_states,
                    "peak_states": said.peak_states,
                    "stack_depth": list(said.stack_depth),
                }
            )
        invocation.output.rows(rows)
        for program in answer.programs:
            if not program.accepted:
                raise VerifierRejected(
                    program.log.program,
                    program.log.log,
                    program.errno,
                    program.log.truncated,
                )
