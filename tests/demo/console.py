# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

_BOLD, _DIM, _END = "\033[1m", "\033[2m", "\033[0m"


def _styled(text: str, style: str) -> str:
    return f"{style}{text}{_END}" if sys.stdout.isatty() else text


def heading(text: str) -> None:
    """The next step."""
    print(f"\n{_styled(text, _BOLD)}", flush=True)


def say(text: str) -> None:
    """What happens, or what was found."""
    print(f"  {text}", flush=True)


def command(words: Sequence[str]) -> None:
    """A command line as a user would type it."""
    print(f"\n  {_styled('$ ' + shlex.join(words), _BOLD)}", flush=True)


def output(text: str, most: int = 40) -> None:
    """What a command wrote; lines beyond `most` are only counted."""
    lines = text.rstrip("\n").splitlines()
    for line in lines[:most]:
        print(f"  {_styled(line, _DIM)}")
    if len(lines) > most:
        print(f"  {_styled(f'... and {len(lines) - most} lines more', _DIM)}")
    sys.stdout.flush()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    print()
    for line, source in ((header, header), *zip(cells, rows, strict=True)):
        parts = [
            text.rjust(width) if isinstance(cell, int) else text.ljust(width)
            for text, cell, width in zip(line, source, widths, strict=True)
        ]
        print(f"  {'  '.join(parts).rstrip()}")
    sys.stdout.flush()
