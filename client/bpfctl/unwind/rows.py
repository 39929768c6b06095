# SPDX-License-Identifier: Apache-2.0
"""The unwind table of one ELF file: its .eh_frame as rows of bpf/include/bpfd/unwind.h."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from bpfctl.unwind.rules import MACHINES, Kind, Rule, rules

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_ROWS", "ROW", "Kind", "rows_of", "table"]

ROW = np.dtype([("start", "<u4"), ("cfa", "<i4"), ("fp", "<i2"), ("ra", "<i2")])
"""struct unwind_row: cfa is the offset shifted by KIND_BITS, with the kind below."""

KIND_BITS = 3
MAX_ROWS = 1 << 22
"""What the search in BPF reaches: UNWIND_SEARCH_STEPS halvings."""


def rows_of(file: BinaryIO) -> NDArray[np.void]:
    """Rows by address of the file, ascending; none for a file without .eh_frame.

    Raises ValueError for what is no ELF file, is damaged, or is of a processor that the
    unwinder does not know.
    """
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.construct import ConstructError
    from elftools.dwarf.callframe import FDE
    from elftools.dwarf.dwarf_expr import DWARFExprParser
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(file)
        machine = MACHINES.get(elf["e_machine"])
        if machine is None or not elf.little_endian:
            raise ValueError(f"the unwinder does not know the processor {elf['e_machine']}")
        if elf.get_section_by_name(".eh_frame") is None:
            return table([])
        dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False)
        parser = DWARFExprParser(dwarf.structs)

        def operations(code: Sequence[int]) -> list[tuple[str, list[int]]]:
            parsed = parser.parse_expr(code)
            return [(each.op_name.removeprefix("DW_OP_"), each.args) for each in parsed]

        found: list[tuple[int, Rule]] = []
        for entry in dwarf.EH_CFI_entries():
            if isinstance(entry, FDE):
                found += rules(entry, machine, operations)
    except (ELFError, DWARFError, ConstructError, KeyError, IndexError) as error:
        raise ValueError(f"its .eh_frame cannot be read: {error}") from error
    return table(found)


def table(found: Iterable[tuple[int, Rule]]) -> NDArray[np.void]:
    """Rows in order, without those that repeat the one before; pure.

    Where one function ends and the next begins, the beginning counts. What does not fit into
    a row's numbers is of kind OTHER.
    """
    # A function's rule comes before the end of another one at the same address.
    ordered = sorted(found, key=lambda each: (each[0], each[1].kind is not Kind.NONE))
    rows: list[tuple[int, int, int, int]] = []
    for index, (address, rule) in enumerate(ordered):
        if index + 1 < len(ordered) and ordered[index + 1][0] == address:
            continue
        row = (address, *_packed(rule))
        if 0 <= address < 1 << 32 and (not rows or rows[-1][1:] != row[1:]):
            rows.append(row)
    if len(rows) > MAX_ROWS:
        raise ValueError(f"it needs {len(rows)} rows, and the search reaches {MAX_ROWS}")
    return np.array(rows, dtype=ROW)


def _packed(rule: Rule) -> tuple[int, int, int]:
    fits = abs(rule.cfa) < 1 << 28 and all(
        -(1 << 15) <= x < 1 << 15 for x in (rule.fp, rule.ra)
    )
    if not fits:
        return (Kind.OTHER, 0, 0)
    return (rule.cfa << KIND_BITS | rule.kind, rule.fp, rule.ra)
