# SPDX-License-Identifier: Apache-2.0
"""What an ELF file says of itself: where its segments lie, which symbols and debug
information it has. Read by pyelftools; names and lines are read in `convert`."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

HEAD_BYTES = 16 << 10
"""From the beginning of a file; linkers put the program headers there."""

_MANY_UNITS = 64
"""Compilation units that are looked at for debug information that is elsewhere."""


class Level(IntEnum):
    """How much a file tells of its functions."""

    NOTHING = 0
    EXPORTS = 1
    """.dynsym: those that other files may call."""
    SYMBOLS = 2
    """.symtab, or the compressed one of .gnu_debugdata."""
    LINES = 3
    """DWARF: files, lines and what was inlined."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the file that is loaded."""

    offset: int
    size: int
    """Bytes in the file."""
    address: int
    executable: bool


@dataclass(frozen=True)
class Facts:
    """What a file is."""

    build_id: str
    """Hexadecimal; empty: none."""
    machine: str
    """"x64", "AArch64", "ARM", "RISC-V", as pyelftools calls it."""
    segments: tuple[Segment, ...]
    level: Level
    debuglink: str = ""
    """Name of the file with the debug information."""
    debuglink_crc: int = 0
    split: bool = False
    """The debug information stands in .dwo files beside the build."""
    only_debug: bool = False
    """Its segments have no content (objcopy --only-keep-debug): offsets mean nothing."""

    @property
    def base(self) -> int:
        """Address of the first segment, from which symcaches count."""
        return self.segments[0].address if self.segments else 0

    def address_of(self, offset: int) -> int | None:
        """The virtual address of an offset in the file; None: it is in no segment."""
        for executable in (True, False):
            for each in self.segments:
                if (
                    each.executable is executable
                    and each.offset <= offset < each.offset + each.size
                ):
                    return each.address + offset - each.offset
        return None

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Facts:
        """Raises TypeError, KeyError or ValueError for what `to_json` did not give."""
        segments = tuple(Segment(**each) for each in fields["segments"])
        return cls(**{**fields, "segments": segments, "level": Level(fields["level"])})


def facts_of_head(head: bytes) -> Facts:
    """What the first `HEAD_BYTES` of a file tell: no level, no build id.

    Raises ValueError for what is no ELF file.
    """
    return _facts(io.BytesIO(_without_sections(head)))


def facts(file: IO[bytes]) -> Facts:
    """What a whole file tells. Raises ValueError for what is no ELF file."""
    return _facts(file)


def symbol_address(path: Path, name: str) -> int:
    """The value of a symbol of .symtab; 0: there is none, or the file cannot be read."""
    from elftools.elf.elffile import ELFFile

    # Of damaged files pyelftools raises all.
    with contextlib.suppress(Exception), open(path, "rb") as file:
        table: Any = ELFFile(file).get_section_by_name(".symtab")
        for symbol in table.iter_symbols():
            if symbol.name == name:
                return int(symbol["st_value"])
    return 0


def _without_sections(head: bytes) -> bytes:
    """The head of a file that says that it has no section headers, which are at the end."""
    data = bytearray(head)
    if len(data) < 64 or data[:4] != b"\x7fELF":
        raise ValueError("it is no ELF file")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    struct.pack_into(order + ("Q" if wide else "I"), data, 40 if wide else 32, 0)
    # e_shentsize stays; e_shnum and e_shstrndx.
    struct.pack_into(order + "HH", data, 60 if wide else 48, 0, 0)
    return bytes(data)


def _facts(file: IO[bytes]) -> Facts:
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(file)
        segments = tuple(
            Segment(
                each["p_offset"], each["p_filesz"], each["p_vaddr"], bool(each["p_flags"] & 1)
            )
            for each in elf.iter_segments("PT_LOAD")
        )
        link, crc = _debuglink(elf)
        level = _level(elf)
        return Facts(
            build_id=_build_id(elf),
            machine=str(elf.get_machine_arch()),
            segments=segments,
            level=level,
            debuglink=link,
            debuglink_crc=crc,
            split=level is Level.LINES and _is_split(elf),
            only_debug=_only_debug(elf),
        )
    except Exception as error:
        # Of damaged files pyelftools raises whatever it meets.
        raise ValueError(f"it is no sound ELF file: {error!r}") from None


def _build_id(elf: ELFFile) -> str:
    for segment in elf.iter_segments("PT_NOTE"):
        for note in segment.iter_notes():  # type: ignore[attr-defined]
            if note["n_type"] == "NT_GNU_BUILD_ID":
                return str(note["n_desc"])
    # Files with only debug information may keep the section alone.
    section = elf.get_section_by_name(".note.gnu.build-id")
    if section is not None and hasattr(section, "iter_notes"):
        for note in section.iter_notes():
            if note["n_type"] == "NT_GNU_BUILD_ID":
                return str(note["n_desc"])
    return ""


def _level(elf: ELFFile) -> Level:
    sections = {
        each.name: each for each in elf.iter_sections() if each["sh_type"] != "SHT_NOBITS"
    }
    if ".debug_info" in sections or ".zdebug_info" in sections:
        return Level.LINES
    if ".symtab" in sections or ".gnu_debugdata" in sections:
        return Level.SYMBOLS
    return Level.EXPORTS if ".dynsym" in sections else Level.NOTHING


def _only_debug(elf: ELFFile) -> bool:
    text = elf.get_section_by_name(".text")
    return text is not None and text["sh_type"] == "SHT_NOBITS"


def _debuglink(elf: ELFFile) -> tuple[str, int]:
    section = elf.get_section_by_name(".gnu_debuglink")
    if section is None:
        return "", 0
    data = section.data()
    name = data.split(b"\0", 1)[0]
    at = (len(name) + 4) // 4 * 4
    if at + 4 > len(data):
        return "", 0
    order = "<" if elf.little_endian else ">"
    return name.decode(errors="replace"), struct.unpack_from(order + "I", data, at)[0]


def _is_split(elf: ELFFile) -> bool:
    with contextlib.suppress(Exception):  # Of damaged debug information pyelftools raises all.
        for number, unit in enumerate(elf.get_dwarf_info().iter_CUs()):
            attributes = unit.get_top_DIE().attributes
            if "DW_AT_GNU_dwo_name" in attributes or "DW_AT_dwo_name" in attributes:
                return True
            if number >= _MANY_UNITS:
                break
    return False
