# SPDX-License-Identifier: Apache-2.0
"""Kinds of values that several commands take."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """A time in seconds: "10", "1.5s", "500ms", "2m", "1h"."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a time; write 10, 1.5s, 500ms, 2m or 1h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """NAME=VALUE options as a dict; raises UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} wants NAME=VALUE, not {text!r}")
        if name in found:
            raise click.UsageError(f"{option} names {name} twice")
        found[name] = value
    return found


def numbers(texts: Iterable[str], option: str) -> dict[str, int]:
    """NAME=NUMBER options as a dict; raises UsageError."""
    found = {}
    for name, value in pairs(texts, option).items():
        try:
            found[name] = int(value.replace("_", ""), 0)
        except ValueError:
            raise click.UsageError(f"{option} {name}: {value!r} is not a number") from None
    return found
