# SPDX-License-Identifier: Apache-2.0
"""What unwinding needs of one file, made once and kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bpfctl.unwind.rows import rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_PF_X = 1


@dataclass(frozen=True)
class Segment:
    """An executable PT_LOAD segment."""

    offset: int
    address: int
    bytes: int


@dataclass(frozen=True)
class Table:
    """What unwinding needs of one file."""

    rows: NDArray[np.void]
    segments: Sequence[Segment]

    def bias(self, start: int, offset: int) -> int | None:
        """Of addresses in a mapping above those of the file; None: no segment is there."""
        for segment in self.segments:
            if segment.offset - 0xFFFF <= offset < segment.offset + segment.bytes:
                return start - (offset - segment.offset + segment.address)
        return None


def table_of(path: Path) -> Table:
    """The table of an ELF file; raises ValueError, see `rows_of`."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        rows = rows_of(file)
        segments = [
            Segment(each["p_offset"], each["p_vaddr"], each["p_filesz"])
            for each in ELFFile(file).iter_segments("PT_LOAD")
            if each["p_flags"] & _PF_X
        ]
    return Table(rows, segments)


def kept(path: Path) -> Table | None:
    """What `keep` has written; None: nothing sound is there."""
    try:
        with np.load(path) as stored:
            segments = [Segment(*map(int, each)) for each in stored["segments"]]
            return Table(stored["rows"], segments)
    except (OSError, ValueError, KeyError):
        return None


def keep(table: Table, path: Path) -> None:
    """Writes a table; whoever reads it meanwhile finds the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    segments = np.array([(x.offset, x.address, x.bytes) for x in table.segments], dtype="<u8")
    with fresh.open("wb") as file:
        np.savez(file, rows=table.rows, segments=segments.reshape(-1, 3))
    os.replace(fresh, path)
