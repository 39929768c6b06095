# SPDX-License-Identifier: Apache-2.0
"""`bpfctl preflight`: whether an object fits targets, before anything is touched."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.source import BuildSettings, SettingTexts, build_options, setting_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpfctl.cli.source import Source
    from bpfctl.objects import LoadSettings
    from bpfctl.output import Row
    from bpfctl.preflight import DryLoad, Finding, Report
    from bpfctl.target import Target

DOES_NOT_FIT = 7
"""Exit code: as that of a target that does not support something."""


@click.command()
@click.argument("source", metavar="FILE.bpf.c|FILE.o|PACKAGE")
@click.option(
    "--attach",
    multiple=True,
    metavar="[PROGRAM=]POINT",
    help="Where a program would go, if not where its section says; as with `run`.",
)
@setting_options
@build_options
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    source: str,
    attach: tuple[str, ...],
    settings: SettingTexts,
    build: BuildSettings,
) -> None:
    """Whether an object fits targets: what it needs, need by need, then a dry load.

    Nothing stays on a target. A C file or a package is compiled for each target first. What
    is missing is said with the first kernel that has it and what would help; ends with exit
    code 7 where the object does not fit.
    """
    from bpfctl.cli import failures
    from bpfctl.cli.source import load_settings, make
    from bpfctl.preflight import Fit

    def look(target: Target) -> Report:
        made = make(invocation, target, source, build)
        return _report(target, made, load_settings(made, settings), attach)

    reports = invocation.each(look)
    _show(invocation, reports)
    if any(report.fit is Fit.NOT for report in reports.values()):
        invocation.exit_code = failures.worst([invocation.exit_code, DOES_NOT_FIT])


def _report(
    target: Target, made: Source, settings: LoadSettings, specs: tuple[str, ...]
) -> Report:
    from bpfctl.cli import plan
    from bpfctl.elf import ObjectFile
    from bpfctl.preflight import preflight
    from bpfctl.preflight.needs import loaded

    parsed = ObjectFile.parse(made.elf)
    programs = [
        plan.Program(each.name, each.section.removeprefix("?"))
        for each in loaded(parsed, settings.skip, settings.also)
    ]
    listed = made.package.programs if made.package else ()
    attach = {item.name: [item.attach] for item in listed if item.attach is not None}
    functions = {**plan.functions(programs, specs, {}), **settings.functions}
    return preflight(
        target,
        parsed,
        dataclasses.replace(settings, functions=functions),
        attach={**attach, **plan.places(programs, specs)},
        choices={item.alternative.name: item.choice.name for item in made.chosen},
        second_choices=tuple(item.alternative.name for item in made.chosen if item.lacking),
    )


def _show(invocation: Invocation, reports: Mapping[str, Report]) -> None:
    if invocation.format == "csv":
        invocation.output.rows(
            {"target": name, **finding.row()}
            for name, report in reports.items()
            for finding in report.findings
        )
    elif invocation.format != "table":
        invocation.output.rows(report.row() for report in reports.values())
    elif invocation.several:
        invocation.output.rows(_matrix(reports, invocation.verbose))
        _say_each(invocation, reports, detailed=True)
    else:
        for report in reports.values():
            invocation.output.rows(_lines(report, invocation.verbose))
        _say_each(invocation, reports, detailed=False)


def _lines(report: Report, verbose: bool) -> list[Row]:
    """A table of one target."""
    rows: list[Row] = []
    for found in report.findings:
        row = {"need": _name(found), "state": _word(found), "since": found.since}
        said = found.helps or found.probe if found.state != "met" else ""
        row["probe" if verbose else "what helps"] = found.probe if verbose else said
        rows.append(row)
    last = "probe" if verbose else "what helps"
    for name, load in _loads(report):
        state = "accepted" if load.accepted else "refused"
        rows.append({"need": f"dry load {name}", "state": state, "since": "", last: load.why})
    return rows


def _loads(report: Report) -> list[tuple[str, DryLoad]]:
    """Programs by name; one for all of them, where all were refused for the same reason."""
    reasons = {load.why for load in report.loads}
    if len(report.loads) > 1 and len(reasons) == 1 and not report.loads[0].accepted:
        return [(f"of all {len(report.loads)} programs", report.loads[0])]
    return [(load.program, load) for load in report.loads]


def _name(found: Finding) -> str:
    kind, name = found.need.kind, found.need.name
    return name if kind == name or kind in ("field", "type") else f"{kind} {name}"


def _word(found: Finding) -> str:
    return found.need.fallback if found.state == "fallback" else str(found.state)


def _matrix(reports: Mapping[str, Report], verbose: bool) -> list[Row]:
    """A line for each need of any target, a column for each target."""
    cells: dict[str, dict[str, str]] = {}
    for name, report in reports.items():
        for found in report.findings:
            word = _word(found)
            if found.state == "missing" and found.since:
                word += f" ({found.since})"
            cells.setdefault(_name(found), {})[name] = word
        for load in report.loads:
            state = "accepted" if load.accepted else "refused"
            cells.setdefault(f"dry load {load.program}", {})[name] = state
    return [
        {"need": need, **{name: words.get(name, "") for name in reports}}
        for need, words in cells.items()
    ]


def _say_each(invocation: Invocation, reports: Mapping[str, Report], *, detailed: bool) -> None:
    """A line on each target; with what is missing where the table has no room for it."""
    for name, report in reports.items():
        words = str(report.fit)
        if report.fit == "fits with fallback":
            words += f": {', '.join(report.fallbacks)}"
        invocation.say(f"{name} ({report.kernel}): {words}")
        if not detailed:
            continue
        for found in report.missing:
            since = f", since {found.since}" if found.since else ""
            why = found.helps or found.probe
            invocation.say(f"  {_name(found)}{since}" + (f": {why}" if why else ""))
        for program, load in _loads(report):
            if not load.accepted:
                invocation.say(f"  dry load {program}: {load.why}")
