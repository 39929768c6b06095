# SPDX-License-Identifier: Apache-2.0
"""ELF executables and shared libraries: headers, sections, segments, and their bytes.

Files are read piece by piece with pread: a file that shrinks meanwhile gives a short read,
where a mapping would give SIGBUS. Every size in the file is held against the file's own
size before it is believed. Layouts: System V ABI (gABI 4.1), chapter "Object Files".
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_MAX_SECTIONS = 100_000
_MAX_SECTION_BYTES = 64 << 20
_LOAD, _EXECUTE = 1, 1
_EXEC, _DYN = 2, 3
_NO_BYTES = 8

_HEADER_TAIL = {1: "HHIIIIIHHHHHH", 2: "HHIQQQIHHHHHH"}
_SECTION = {1: "IIIIIIIIII", 2: "IIQQQQIIQQ"}
_SEGMENT = {1: "IIIIIIII", 2: "IIQQQQQQ"}


class BadElf(ValueError):
    """The file is not an ELF executable or library, or it is damaged; the text says how."""


@dataclass(frozen=True)
class Section:
    """A section header."""

    name: int
    """Offset of its name in the section of names."""
    type: int
    address: int
    offset: int
    size: int
    link: int
    info: int


@dataclass(frozen=True)
class Segment:
    """A segment that is mapped into memory."""

    executable: bool
    offset: int
    address: int
    size: int


class ElfImage:
    """An open ELF executable or shared library: `with ElfImage(path) as image: ...`.

    Raises OSError when it cannot be opened and BadElf for what it is not.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        self._fd = os.open(path, flags)
        try:
            status = os.fstat(self._fd)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(status.st_mode):
                raise BadElf("is not a regular file")
            self.size = status.st_size
            self._read_headers()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def is_code(self, file_offset: int) -> bool:
        """Whether the byte of the file is in a segment that is mapped executable."""
        return any(
            each.executable and each.offset <= file_offset < each.offset + each.size
            for each in self._segments
        )

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size:
            raise BadElf("is truncated")
        data = os.pread(self._fd, size, offset)
        if len(data) != size:
            raise BadElf("is truncated")
        return data

    def _read_headers(self) -> None:
        if self.size < 52 or self._read(0, 4) != b"\x7fELF":
            raise BadElf("is not an ELF file")
        bits, order = self._read(4, 2)
        if bits not in (1, 2) or order not in (1, 2):
            raise BadElf("is not an ELF file: unknown class or byte order")
        self._bits, self._order = bits, "<" if order == 1 else ">"
        layout = struct.Struct(self._order + _HEADER_TAIL[bits])
        header = layout.unpack(self._read(16, layout.size))
        kind, self._machine, _, _, segments_at, sections_at = header[:6]
        _, _, segment_size, segment_count, section_size, section_count, names = header[6:]
        self._names_index = names
        if kind not in (_EXEC, _DYN):
            raise BadElf("is neither an executable nor a shared library")
        self._sections = self._read_sections(sections_at, section_size, section_count)
        self._segments = self._read_segments(segments_at, segment_size, segment_count)

    def _read_sections(self, at: int, size: int, count: int) -> list[Section]:
        layout = struct.Struct(self._order + _SECTION[self._bits])
        if not at:
            return []
        if size != layout.size:
            raise BadElf("has section headers of an unknown size")
        if count == 0:  # more than 65279: the count is in the first header
            count = layout.unpack(self._read(at, layout.size))[5]
        if count > _MAX_SECTIONS:
            raise BadElf(f"claims to have {count} sections")
        data = self._read(at, size * count)
        return [
            Section(name, kind, address, offset, length, link, info)
            for name, kind, _, address, offset, length, link, info, _, _ in layout.iter_unpack(
                data
            )
        ]

    def _read_segments(self, at: int, size: int, count: int) -> list[Segment]:
        layout = struct.Struct(self._order + _SEGMENT[self._bits])
        if not at or not count:
            return []
        if size != layout.size:
            raise BadElf("has program headers of an unknown size")
        found = []
        for fields in layout.iter_unpack(self._read(at, size * count)):
            if self._bits == 2:
                kind, flags, offset, address, _, length, _, _ = fields
            else:
                kind, offset, address, _, length, _, flags, _ = fields
            if kind == _LOAD:
                found.append(Segment(bool(flags & _EXECUTE), offset, address, length))
        return found

    def file_offset(self, address: int) -> int:
        """Bytes from the file's start of what is mapped at an address; -1: nothing is."""
        for each in sorted(self._segments, key=lambda segment: not segment.executable):
            if each.address <= address < each.address + each.size:
                return address - each.address + each.offset
        return -1

    def section(self, name: str) -> Section | None:
        """The first section of that name. Raises BadElf."""
        if self._names_index >= len(self._sections):
            return None
        names = self._sections[self._names_index]
        wanted = name.encode() + b"\0"
        for each in self._sections:
            length = min(len(wanted), max(names.size - each.name, 0))
            if self._read(names.offset + each.name, length) == wanted:
                return each
        return None

    def content(self, section: Section) -> bytes:
        """The bytes of a section; none where it has only a size. Raises BadElf."""
        if section.type == _NO_BYTES:
            return b""
        if section.size > _MAX_SECTION_BYTES:
            raise BadElf(f"has a section of {section.size >> 20} MB")
        return self._read(section.offset, section.size)

    @property
    def machine(self) -> int:
        """e_machine: 62 x86-64, 183 arm64, 40 arm, 243 riscv, 3 i386."""
        return int(self._machine)

    @property
    def bits(self) -> int:
        """32 or 64."""
        return 32 * self._bits

    @property
    def order(self) -> str:
        """Byte order as struct writes it: "<" or ">"."""
        return self._order
