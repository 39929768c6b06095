# SPDX-License-Identifier: Apache-2.0
"""USDT probes of an ELF file, by the notes that sys/sdt.h leaves.

Layout: https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.kernel.elf_image import BadElf, ElfImage

_TYPE = 3
_OWNER = b"stapsdt\0"
_MAX_NOTES = 200_000


@dataclass(frozen=True)
class Probe:
    """One place of a probe; a probe may have many."""

    provider: str
    name: str
    arguments: str
    """As the assembler wrote them: "-4@%edi 8@-16(%rbp)"."""
    offset: int
    """Bytes from the file's start; -1: no segment of the file has it."""
    semaphore: int
    """File offset of the counter that tells whether somebody looks; 0: there is none."""


def probes(image: ElfImage) -> Iterator[Probe]:
    """Every place of every probe, in the order of the notes. Raises BadElf."""
    section = image.section(".note.stapsdt")
    if section is None:
        return
    base = image.section(".stapsdt.base")
    for description in _notes(image, image.content(section)):
        yield _probe(image, description, base.address if base is not None else 0)


def _notes(image: ElfImage, data: bytes) -> Iterator[bytes]:
    layout = struct.Struct(image.order + "III")
    at = 0
    for _ in range(_MAX_NOTES):
        if at + layout.size > len(data):
            return
        name_size, size, kind = layout.unpack_from(data, at)
        name_at = at + layout.size
        start = name_at + (name_size + 3 & ~3)
        at = start + (size + 3 & ~3)
        if at > len(data) + 3:
            raise BadElf("has a damaged section .note.stapsdt")
        if kind == _TYPE and data[name_at : name_at + name_size] == _OWNER:
            yield data[start : start + size]
    raise BadElf(f"has more than {_MAX_NOTES} probes")


def _probe(image: ElfImage, description: bytes, base: int) -> Probe:
    layout = struct.Struct(image.order + ("QQQ" if image.bits == 64 else "III"))
    if len(description) < layout.size:
        raise BadElf("has a damaged note of a probe")
    place, linked_base, semaphore = layout.unpack_from(description)
    # The file may have been prelinked to another address since the note was written.
    moved = base - linked_base if base and linked_base else 0
    texts = description[layout.size :].split(b"\0")
    provider, name, arguments = (
        each.decode(errors="replace") for each in (*texts[:3], b"", b"", b"")[:3]
    )
    return Probe(
        provider,
        name,
        arguments,
        image.file_offset(place + moved),
        image.file_offset(semaphore + moved) if semaphore else 0,
    )
