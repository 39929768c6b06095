# SPDX-License-Identifier: Apache-2.0
"""From answers and the dry load to whether an object fits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .answers import Answer
from .needs import Need


class State(StrEnum):
    """Of one need on one target."""

    MET = "met"
    FALLBACK = "fallback"
    """Missing; the daemon does something else instead."""
    CHECKED = "checked by the program"
    """Missing; the dry load passes all the same, as the program looks for it."""
    MISSING = "missing"
    UNKNOWN = "unknown"
    """Neither probe nor dry load tells."""


class Fit(StrEnum):
    """Of one object on one target."""

    FITS = "fits"
    WITH_FALLBACK = "fits with fallback"
    NOT = "does not fit"


@dataclass(frozen=True)
class DryLoad:
    """What became of one program that was loaded and thrown away."""

    program: str
    accepted: bool
    why: str = ""
    """Of one that was refused: the last words of the verifier, or of libbpf."""
    processed_instructions: int = 0


@dataclass(frozen=True)
class Finding:
    """A need, and what a target has of it."""

    need: Need
    state: State
    probe: str
    since: str
    helps: str

    def row(self) -> dict[str, Any]:
        """With stable names."""
        return {
            "kind": self.need.kind,
            "need": self.need.name,
            "state": str(self.state),
            "since": self.since,
            "fallback": self.need.fallback if self.state is State.FALLBACK else "",
            "probe": self.probe,
            "helps": self.helps,
            "programs": list(self.need.programs),
        }


@dataclass(frozen=True)
class Report:
    """What `bpfctl preflight` says of one target."""

    target: str
    kernel: str
    findings: Sequence[Finding]
    loads: Sequence[DryLoad]
    choices: Mapping[str, str] = field(default_factory=dict)
    """Of a package's alternatives: what was chosen, by name."""
    second_choices: Sequence[str] = ()
    """Those of them that are not the first."""

    @property
    def fit(self) -> Fit:
        """The worst of all."""
        if any(not load.accepted for load in self.loads) or self._any(State.MISSING):
            return Fit.NOT
        if self._any(State.FALLBACK) or self.second_choices:
            return Fit.WITH_FALLBACK
        return Fit.FITS

    def _any(self, state: State) -> bool:
        return any(finding.state is state for finding in self.findings)

    @property
    def missing(self) -> list[Finding]:
        """Why it does not fit, as far as needs tell."""
        return [found for found in self.findings if found.state is State.MISSING]

    @property
    def fallbacks(self) -> list[str]:
        """What is done instead, in words: "clsact instead of tcx link"."""
        chosen = [f"{self.choices[name]} for {name}" for name in self.second_choices]
        return chosen + [
            f"{found.need.fallback} instead of {_feature(found.need)}"
            for found in self.findings
            if found.state is State.FALLBACK
        ]

    def row(self) -> dict[str, Any]:
        """With stable names."""
        return {
            "target": self.target,
            "fit": str(self.fit),
            "kernel": self.kernel,
            "fallbacks": self.fallbacks,
            "choices": dict(self.choices),
            "needs": [finding.row() for finding in self.findings],
            "programs": [
                {
                    "program": load.program,
                    "accepted": load.accepted,
                    "processed_insns": load.processed_instructions,
                    "why": load.why,
                }
                for load in self.loads
            ],
        }


def _feature(need: Need) -> str:
    return str(need.ask[1]) if need.ask and need.ask[0] == "feature" else need.name


def judged(
    needs: Sequence[Need], answers: Sequence[Answer], loads: Iterable[DryLoad]
) -> list[Finding]:
    """Each need's state; the dry load decides where it can."""
    accepted = {load.program: load.accepted for load in loads}
    return [
        Finding(need, _state(need, answer, accepted), answer.probe, answer.since, answer.helps)
        for need, answer in zip(needs, answers, strict=True)
    ]


def _state(need: Need, answer: Answer, accepted: Mapping[str, bool]) -> State:
    if answer.met:
        return State.MET
    those = need.programs or tuple(accepted)
    loads = bool(those) and all(accepted.get(name, False) for name in those)
    if answer.met is None:
        return State.MET if loads and not need.at_attach else State.UNKNOWN
    if need.fallback:
        return State.FALLBACK
    if need.optional:
        return State.CHECKED
    return State.CHECKED if loads and not need.at_attach else State.MISSING
