# SPDX-License-Identifier: Apache-2.0
"""The attach type of a request, for hooks whose programs are loaded for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bpfd import errors
from bpfd.attach.attachment import Program


def chosen(
    program: Program,
    wanted: int,
    types: Mapping[int, int],
    name: Callable[[Any], str],
    field: str,
) -> int:
    """The kernel's attach type: what is asked for, else what the program was loaded for.

    `types` are the attach types by the numbers of an enum of attach.proto, `name` gives that
    enum's names. What a program of someone else was loaded for is not known; then the kernel
    alone checks. Raises InvalidArgument.
    """

    def word(number: int) -> str:
        return name(number).partition("_HOOK_")[2].lower()

    words = ", ".join(map(word, types))
    loaded = next((each for each in types if types[each] == program.expected_attach_type), 0)
    if wanted and wanted not in types:
        raise errors.InvalidArgument(field, f"{wanted} is none of {words}")
    if wanted and loaded and wanted != loaded:
        raise errors.InvalidArgument(
            field, f"{program.name} was loaded for {word(loaded)}, not for {word(wanted)}"
        )
    if not wanted and not loaded:
        raise errors.InvalidArgument(field, f"must be one of {words}")
    return types[wanted or loaded]
