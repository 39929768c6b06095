# SPDX-License-Identifier: Apache-2.0
"""Ways of a package to do the same thing, and which of them a target takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .model import Alternative, Choice, PackageError, near


@dataclass(frozen=True)
class Chosen:
    """What was taken of one alternative."""

    alternative: Alternative
    choice: Choice
    lacking: tuple[str, ...] = ()
    """Needs of better choices that the target does not meet; empty: it is the first one, or
    was asked for."""

    @property
    def is_first(self) -> bool:
        """Whether it is the one that the package would rather have."""
        return self.choice is self.alternative.choices[0]


class NoneFits(PackageError):
    """The target meets the needs of no choice."""

    def __init__(self, alternative: Alternative, lacking: Mapping[str, Sequence[str]]) -> None:
        ways = "; ".join(f"{name} needs {', '.join(needs)}" for name, needs in lacking.items())
        super().__init__(f"{alternative.name} ({alternative.description}): {ways}")
        self.alternative = alternative
        self.lacking = dict(lacking)


def check_names(alternatives: Iterable[Alternative], asked: Mapping[str, str]) -> None:
    """Raise PackageError for an alternative or a choice that the package does not have."""
    known = {item.name: item for item in alternatives}
    for name, choice in asked.items():
        if name not in known:
            there = f"; it has {', '.join(known)}" if known else ""
            raise PackageError(
                f"the package has no alternatives {name!r}{near(name, known) or there}"
            )
        choices = [item.name for item in known[name].choices]
        if choice not in choices:
            raise PackageError(
                f"{name} has no choice {choice!r}: it is one of {', '.join(choices)}"
            )


def needs(alternatives: Iterable[Alternative], asked: Mapping[str, str]) -> list[str]:
    """What has to be known of a target to choose, each once."""
    wanted = [
        need
        for item in alternatives
        if item.name not in asked
        for choice in item.choices
        for need in choice.needs
    ]
    return list(dict.fromkeys(wanted))


def choose(
    alternatives: Iterable[Alternative], met: Mapping[str, bool], asked: Mapping[str, str]
) -> list[Chosen]:
    """The choice that was asked for of each, else the first whose needs are all met.

    Raises NoneFits, and PackageError as `check_names`.
    """
    alternatives = list(alternatives)
    check_names(alternatives, asked)
    return [_chosen(item, met, asked.get(item.name)) for item in alternatives]


def _chosen(item: Alternative, met: Mapping[str, bool], asked: str | None) -> Chosen:
    if asked is not None:
        return Chosen(item, next(each for each in item.choices if each.name == asked))
    lacking: dict[str, list[str]] = {}
    for choice in item.choices:
        missing = [need for need in choice.needs if not met.get(need, False)]
        if not missing:
            better = dict.fromkeys(need for needs in lacking.values() for need in needs)
            return Chosen(item, choice, tuple(better))
        lacking[choice.name] = missing
    raise NoneFits(item, lacking)


def left_out(chosen: Iterable[Chosen]) -> list[str]:
    """Programs of choices that were not taken."""
    return [
        program
        for item in chosen
        for choice in item.alternative.choices
        for program in choice.programs
        if program not in item.choice.programs
    ]


def defines(chosen: Iterable[Chosen]) -> list[str]:
    """Macros of the choices that were taken, as the compiler's -D takes them."""
    return [text for item in chosen for text in item.choice.defines]
