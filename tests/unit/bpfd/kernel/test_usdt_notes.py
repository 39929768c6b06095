# SPDX-License-Identifier: Apache-2.0
"""Notes of USDT probes in ELF files that are made here, sound and damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bpfd.kernel.elf_image import BadElf, ElfImage
from bpfd.kernel.usdt_notes import Probe, probes

CODE, BASE = 0x1000, 0x10000
"""Where the only segment is in the file and in memory."""


def note(
    order: str, word: str, place: int, base: int, semaphore: int, text: bytes, kind: int = 3
) -> bytes:
    description = struct.pack(f"{order}3{word}", place, base, semaphore) + text
    head = struct.pack(f"{order}III", 8, len(description), kind)
    return head + b"stapsdt\0" + description + bytes(-len(description) % 4)


def image(bits: int, order: str, notes: bytes, base: int) -> bytes:
    """An ELF file with these notes; `base` is where .stapsdt.base is, 0: it has none."""
    names = b"\0.shstrtab\0.note.stapsdt\0.stapsdt.base\0"
    start = CODE + 0x1000
    layout = "IIQQQQIIQQ" if bits == 64 else "IIIIIIIIII"
    sections = [
        (0,) * 10,
        (1, 3, 0, 0, start, len(names), 0, 0, 1, 0),
        (names.index(b".note"), 7, 0, 0, start + 64, len(notes), 0, 0, 4, 0),
    ]
    if base:
        sections.append((names.index(b".stapsdt.base"), 1, 2, base, start, 1, 0, 0, 1, 0))
    body = names.ljust(64, b"\0") + notes
    at = start + len(body)
    if bits == 64:
        segment = struct.pack(f"{order}IIQQQQQQ", 1, 5, CODE, BASE, BASE, 0x1000, 0x1000, 1)
    else:
        segment = struct.pack(f"{order}IIIIIIII", 1, CODE, BASE, BASE, 0x1000, 0x1000, 5, 1)
    size, entry = (64, 64) if bits == 64 else (52, 40)
    header = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2, 1])
    header = header.ljust(16, b"\0") + struct.pack(
        order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"),
        *(3, 62, 1, 0, size, at, 0, size, len(segment), 1, entry, len(sections), 1),
    )
    found = (header + segment).ljust(start, b"\xcc") + body
    return found + b"".join(struct.pack(order + layout, *each) for each in sections)


def read(tmp_path: Path, data: bytes) -> list[Probe]:
    path = tmp_path / "binary"
    path.write_bytes(data)
    with ElfImage(str(path)) as file:
        return list(probes(file))


@pytest.mark.parametrize(("bits", "word"), [(32, "I"), (64, "Q")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_places_and_semaphores(tmp_path: Path, bits: int, word: str, order: str) -> None:
    notes = note(order, word, BASE + 16, 0, BASE + 64, b"web\0request\0-4@%edi\0")
    notes += note(order, word, BASE + 32, 0, 0, b"web\0reply\0\0")
    notes += note(order, word, BASE, 0, 0, b"other\0kind\0\0", kind=1)
    assert read(tmp_path, image(bits, order, notes, 0)) == [
        Probe("web", "request", "-4@%edi", CODE + 16, CODE + 64),
        Probe("web", "reply", "", CODE + 32, 0),
    ]


def test_a_file_that_was_prelinked(tmp_path: Path) -> None:
    notes = note("<", "Q", 0x5010, 0x5000, 0x5020, b"p\0n\0\0")
    (found,) = read(tmp_path, image(64, "<", notes, BASE))
    assert (found.offset, found.semaphore) == (CODE + 16, CODE + 32)


def test_what_is_outside_of_the_file(tmp_path: Path) -> None:
    notes = note("<", "Q", 0x900000, 0, 0x900000, b"p\0n\0\0")
    (found,) = read(tmp_path, image(64, "<", notes, 0))
    assert (found.offset, found.semaphore) == (-1, -1)


def test_no_notes(tmp_path: Path) -> None:
    assert read(tmp_path, image(64, "<", b"", 0)) == []


def test_damaged_notes(tmp_path: Path) -> None:
    whole = note("<", "Q", BASE, 0, 0, b"p\0n\0\0")
    for damaged in (
        whole[:40],
        struct.pack("<III", 8, 1 << 31, 3) + b"stapsdt\0",
        struct.pack("<III", 8, 4, 3) + b"stapsdt\0" + bytes(4),
    ):
        with pytest.raises(BadElf):
            read(tmp_path, image(64, "<", damaged, 0))
