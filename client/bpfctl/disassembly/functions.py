# SPDX-License-Identifier: Apache-2.0
"""The function that a user names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol, TypeVar

from bpfctl.errors import NotFound


class Named(Protocol):
    """A function of either kind of code."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def chosen(functions: Sequence[N], name: str | None) -> list[N]:
    """Those of that name (static functions may share it); None: all. Raises NotFound."""
    if name is None:
        return list(functions)
    found = [each for each in functions if each.name == name]
    if found:
        return found
    known = [each.name for each in functions]
    near = difflib.get_close_matches(name, known, 3)
    more = f", and {len(known) - 8} more" if len(known) > 8 else ""
    raise NotFound("function", name, near, f"it has {', '.join(known[:8])}{more}")
