# SPDX-License-Identifier: Apache-2.0
"""Tracepoints as tracefs lists them. tracefs is mounted when it is nowhere.

Every function raises what `mounts.ensure_tracefs` raises.
"""

from __future__ import annotations

import os

from bpfd.kernel import mounts
from bpfd.kernel.host import read_text
from bpfd.kernel.mounts import ensure_tracefs


def event_id(category: str, name: str) -> int:
    """The number that perf_event_open takes. Raises FileNotFoundError."""
    return int(read_text(f"{ensure_tracefs()}/events/{category}/{name}/id", 64))


def categories() -> list[str]:
    """Groups of tracepoints, sorted."""
    return _folders(f"{ensure_tracefs()}/events")


def events(category: str) -> list[str]:
    """Tracepoints of a category, sorted; none when there is no such category."""
    return _folders(f"{ensure_tracefs()}/events/{category}")


def categories_of(name: str) -> list[str]:
    """Categories that have a tracepoint of this name, sorted."""
    top = f"{ensure_tracefs()}/events"
    return [each for each in _folders(top) if os.path.isdir(f"{top}/{each}/{name}")]


def category_if_mounted(name: str) -> str:
    """The first category that has a tracepoint of this name; "" where none is to be seen.
    Mounts nothing and raises nothing."""
    return next(iter(categories_of(name)), "") if mounts.find("tracefs") else ""


def all_events() -> list[str]:
    """Names of all tracepoints without category, sorted, each once."""
    return sorted({name for category in categories() for name in events(category)})


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(each.name for each in entries if each.is_dir())
    except OSError:
        return []
