# SPDX-License-Identifier: Apache-2.0
"""Which programs of an object are verified."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from typing import TYPE_CHECKING

from bpfctl.errors import NotFound

if TYPE_CHECKING:
    from bpfctl.elf import ObjectFile


def chosen(
    parsed: ObjectFile,
    patterns: Collection[str],
    left_out: Collection[str] = (),
    *,
    strict: bool = True,
) -> list[str]:
    """Names of programs in the order of the object.

    Without patterns those that load by default; else those that a pattern fits, the ones
    that their section turns off included. `left_out` are patterns, too. Where `strict`,
    NotFound is raised for a pattern that fits none.
    """
    names = [program.name for program in parsed.programs]
    for pattern in (*patterns, *left_out) if strict else ():
        if not fnmatch.filter(names, pattern):
            import difflib

            near = difflib.get_close_matches(pattern, names, 3)
            raise NotFound("program", pattern, near, f"the object has {', '.join(names)}")
    return [
        program.name
        for program in parsed.programs
        if fits(program.name, patterns, left_out) and (patterns or not off(program.section))
    ]


def fits(name: str, patterns: Collection[str], left_out: Collection[str] = ()) -> bool:
    """Whether a program is asked for; without patterns every one is."""
    wanted = not patterns or any(fnmatch.fnmatchcase(name, each) for each in patterns)
    return wanted and not any(fnmatch.fnmatchcase(name, each) for each in left_out)


def off(section: str) -> bool:
    """Whether a section says that its programs load only when they are asked for."""
    return section.startswith("?")
