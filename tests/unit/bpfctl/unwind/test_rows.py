# SPDX-License-Identifier: Apache-2.0
"""Unwind tables: of this process's libc, beside readelf's reading of the same file; by hand."""

from __future__ import annotations

import io
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from bpfctl.unwind.file_table import Segment, Table
from bpfctl.unwind.rows import KIND_BITS, ROW, Kind, rows_of, table
from bpfctl.unwind.rules import Rule

READELF = shutil.which("readelf") or ""


def libc() -> Path:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if re.search(r"/libc[.-][^/]*so", line):
            return Path(line.split(maxsplit=5)[5])
    pytest.skip("this Python has no libc of its own")


def unpacked(row: np.void) -> tuple[Kind, int, int, int]:
    cfa = int(row["cfa"])
    return (
        Kind(cfa & (1 << KIND_BITS) - 1),
        cfa >> KIND_BITS,
        int(row["fp"]),
        int(row["ra"]),
    )


@pytest.mark.skipif(not READELF, reason="needs readelf")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads registers of x86-64")
def test_readelf_reads_the_same() -> None:
    path = libc()
    with path.open("rb") as file:
        rows = rows_of(file)
    said = subprocess.run([READELF, "-wF", path], capture_output=True, text=True).stdout
    compared: Counter[Kind] = Counter()
    columns: list[str] = []
    for line in said.splitlines():
        words = line.split()
        if words[:1] == ["LOC"]:
            columns = words
        if len(words) != len(columns) or not re.fullmatch("[0-9a-f]{16}", line.split(" ")[0]):
            continue
        told = dict(zip(columns, words, strict=True))
        address = int(told["LOC"], 16)
        if not address:
            continue  # of a common entry
        kind, cfa, fp, ra = unpacked(rows[np.searchsorted(rows["start"], address, "right") - 1])
        compared[kind] += 1
        if kind in (Kind.SP, Kind.FP):
            register = "rsp" if kind is Kind.SP else "rbp"
            assert told["CFA"] == f"{register}+{cfa}", line
            assert told["ra"] == f"c{ra}", line
            assert told.get("rbp", "u") == (f"c{fp}" if fp else "u"), line
        elif kind is Kind.END:
            assert told["ra"] == "u", line
        elif kind is not Kind.SIGNAL:
            assert (
                "exp" in line or "vexp" in line or not told["CFA"].startswith(("rsp", "rbp"))
            ), line
    assert compared[Kind.SP] > 1000
    assert compared[Kind.FP] > 10
    assert compared[Kind.PLT] == 1
    assert compared[Kind.OTHER] < compared[Kind.SP] / 100


def test_the_next_function_counts_where_one_ends() -> None:
    here = Rule(Kind.SP, 8, 0, -8)
    found = table(
        [
            (0x20, here),
            (0x30, Rule(Kind.NONE)),
            (0x10, here),
            (0x14, Rule(Kind.FP, 16, -16, -8)),
            (0x20, Rule(Kind.NONE)),
        ]
    )
    assert found["start"].tolist() == [0x10, 0x14, 0x20, 0x30]
    assert [unpacked(row) for row in found] == [
        (Kind.SP, 8, 0, -8),
        (Kind.FP, 16, -16, -8),
        (Kind.SP, 8, 0, -8),
        (Kind.NONE, 0, 0, 0),
    ]


def test_rows_that_say_the_same_are_one() -> None:
    here = Rule(Kind.SP, 8, 0, -8)
    found = table([(0x10, here), (0x14, here), (0x18, Rule(Kind.NONE))])
    assert found["start"].tolist() == [0x10, 0x18]


@pytest.mark.parametrize(
    "rule", [Rule(Kind.SP, 1 << 28, 0, -8), Rule(Kind.SP, 8, -(1 << 15) - 1, -8)]
)
def test_what_a_row_cannot_hold_is_not_followed(rule: Rule) -> None:
    assert unpacked(table([(0x10, rule)])[0]) == (Kind.OTHER, 0, 0, 0)


def test_offsets_of_both_signs() -> None:
    rule = Rule(Kind.FP_DEREF, -(1 << 27), -8, 16)
    assert unpacked(table([(0x10, rule)])[0]) == (Kind.FP_DEREF, -(1 << 27), -8, 16)


@pytest.mark.parametrize("cut", [0, 3, 64, 5000])
def test_a_damaged_file_is_refused(cut: int) -> None:
    data = Path(sys.executable).resolve().read_bytes()[:cut]
    with pytest.raises(ValueError, match=r"cannot be read|does not know"):
        rows_of(io.BytesIO(data))


def test_garbage_instructions_are_refused_or_read() -> None:
    """No other error than ValueError, whatever is in the section."""
    data = bytearray(libc().read_bytes())
    rng = np.random.default_rng(1)
    with io.BytesIO(data) as file:
        from elftools.elf.elffile import ELFFile

        section = ELFFile(file).get_section_by_name(".eh_frame")
        assert section is not None
        begin, size = section["sh_offset"], section["sh_size"]
    for place in rng.integers(begin, begin + size // 50, 40):
        data[place] ^= int(rng.integers(1, 256))
    damaged = bytes(data[: begin + size // 50]) + bytes(len(data) - begin - size // 50)
    try:
        rows = rows_of(io.BytesIO(damaged))
    except ValueError:
        return
    assert rows.dtype == ROW


def test_the_bias_of_a_mapping() -> None:
    known = Table(np.array([], ROW), [Segment(0x26F40, 0x28F40, 0x1000)])
    assert known.bias(0x7F0000026000, 0x26000) == 0x7F0000026000 - 0x28000
    assert known.bias(0x7F0000026000, 0x30000) is None
