# SPDX-License-Identifier: Apache-2.0
"""`bpfctl doctor`: what a target can do, what is missing, why, and what helps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.doctor import Check

_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


@click.command()
@click.option(
    "--all", "everything", is_flag=True, help="Show each feature that works, too [counted]."
)
@common_options()
@pass_invocation
def command(invocation: Invocation, everything: bool) -> None:
    """What a target can do and what is missing, each with its reason and its remedy.

    Exit code 0: the target is usable, whatever else it lacks; 5: it cannot be reached;
    7: something is missing that everything needs.
    """
    from bpfctl.cli import failures
    from bpfctl.doctor import usable

    found = _examine(invocation)
    if invocation.format == "table":
        for number, (name, checks) in enumerate(found.items()):
            if invocation.several:
                click.echo(("\n" if number else "") + click.style(name, bold=True))
            _show(checks, everything=everything or invocation.verbose)
    else:
        rows = {name: [check.row() for check in checks] for name, checks in found.items()}
        invocation.output.rows(invocation.labelled(rows))
    codes = [_code(checks) for checks in found.values() if not usable(checks)]
    invocation.exit_code = failures.worst([invocation.exit_code, *codes])


def _code(checks: Iterable[Check]) -> int:
    from bpfctl.doctor import reach

    return 5 if any(check.group == reach.GROUP for check in checks) else 7


def _examine(invocation: Invocation) -> dict[str, list[Check]]:
    """The checks of each target, those that cannot be reached too."""
    from bpfctl import config, fanout, groups
    from bpfctl.doctor import diagnose, gather, reach
    from bpfctl.doctor.facts import Facts

    names = groups.expand(invocation.target or config.default_name())
    entries = dict(config.resolve(name) for name in names)
    found: dict[str, list[Check]] = {}
    for outcome in fanout.on_each(names, gather.gather):
        if isinstance(outcome.value, Facts):
            found[outcome.target] = diagnose(outcome.value)
        elif isinstance(outcome.error, reach.REACHING):
            entry = entries[outcome.target]
            found[outcome.target] = list(reach.checks(outcome.target, entry, outcome.error))
        elif outcome.error is not None:
            raise outcome.error
    return found


def _show(checks: Iterable[Check], *, everything: bool) -> None:
    from bpfctl.doctor import features

    for group, members in groupby(checks, key=lambda check: check.group):
        click.echo(click.style(group, bold=True))
        for check in members:
            counted = group in features.GROUPS and check.check != features.IN_ALL
            if check.status == "ok" and counted and not everything:
                continue
            status = click.style(f"{check.status:<8}", fg=_COLOURS[check.status])
            click.echo(f"  {status} {printable(check.check)}: {printable(check.reason)}")
            if check.remedy:
                click.echo(f"           -> {printable(check.remedy)}")
