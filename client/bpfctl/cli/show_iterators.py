# SPDX-License-Identifier: Apache-2.0
"""What iterators write: as it is for people and pipes, a row for each line in other formats."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bpfctl.printable import printable

if TYPE_CHECKING:
    from bpfctl.cli.invocation import Invocation
    from bpfctl.output import RowStream


def show_iterator(
    invocation: Invocation, name: str, pieces: Iterable[bytes], stream: RowStream | None = None
) -> None:
    """One run of an iterator, as it comes; into `stream` where other rows of the command go.

    Records that are no text come through whole where the output is no terminal.
    """
    if invocation.format == "table":
        _plain(pieces)
    elif stream is not None:
        for line in _lines(pieces):
            stream.write({"iterator": name, "line": line})
    else:
        invocation.output.rows({"iterator": name, "line": line} for line in _lines(pieces))


def _plain(pieces: Iterable[bytes]) -> None:
    sys.stdout.flush()
    if sys.stdout.isatty():
        for line in _lines(pieces):
            sys.stdout.write(printable(line, "\t") + "\n")
        return
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
