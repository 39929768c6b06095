# SPDX-License-Identifier: Apache-2.0
"""All tracepoints of tracefs with their ids and formats."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.kernel import mounts
from bpfd.kernel.host import read_text


@dataclass(frozen=True)
class Tracepoint:
    """A tracepoint; `format` is the text of its format file, empty when not wanted."""

    category: str
    name: str
    id: int
    format: str


def tracepoints(pattern: str, formats: bool) -> Iterator[Tracepoint]:
    """Those whose CATEGORY/NAME matches the glob (empty: all), sorted.

    Raises what `mounts.ensure_tracefs` raises.
    """
    matches = re.compile(fnmatch.translate(pattern or "*")).match
    top = f"{mounts.ensure_tracefs()}/events"
    for category in _folders(top):
        for name in _folders(f"{top}/{category}"):
            folder = f"{top}/{category}/{name}"
            if not matches(f"{category}/{name}"):
                continue
            try:
                number = int(read_text(f"{folder}/id", 64))
                text = read_text(f"{folder}/format") if formats else ""
            except OSError:
                # A few folders, as ftrace/function, have a format but no id.
                continue
            yield Tracepoint(category, name, number, text)


def _folders(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())
