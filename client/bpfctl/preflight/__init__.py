# SPDX-License-Identifier: Apache-2.0
"""Whether an object fits targets, before anything is touched there.

`needs` reads from the object what it needs, `answers` asks a target for each, `dryload` has
it loaded and thrown away, `report` judges; `preflight` does all of it for one target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .report import DryLoad, Finding, Fit, Report, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bpfctl.elf import ObjectFile
    from bpfctl.objects import LoadSettings
    from bpfctl.target import Target

__all__ = ["DryLoad", "Finding", "Fit", "Report", "State", "preflight"]


def preflight(
    target: Target,
    parsed: ObjectFile,
    settings: LoadSettings | None = None,
    *,
    attach: Mapping[str, Sequence[str]] | None = None,
    choices: Mapping[str, str] | None = None,
    second_choices: tuple[str, ...] = (),
) -> Report:
    """Whether an object fits a target; nothing of it stays there.

    `attach` says by program where it goes, as `--attach` does, where its section does not;
    `choices` are those of a package's alternatives that the object was built with, of which
    `second_choices` were not the first. Raises InvalidObject, and what the daemon raises
    where it cannot even try.
    """
    from bpfctl.objects import LoadSettings

    from . import dryload, needs, substitutes
    from .answers import answers
    from .report import judged

    settings = settings or LoadSettings()
    found = needs.of_object(
        parsed,
        skip=settings.skip,
        also=settings.also,
        attach=attach,
        functions=settings.functions,
    )
    said = answers(target, found)
    loads = dryload.dry_load(target, parsed, settings)
    findings = judged(found, said, loads)
    if tried := substitutes.to_try(findings):
        works = {
            need.key
            for need, answer in zip(tried, answers(target, tried), strict=True)
            if answer.met
        }
        findings = substitutes.with_help(findings, works)
    return Report(
        target.name,
        target.info().kernel_release,
        findings,
        loads,
        dict(choices or {}),
        second_choices,
    )
