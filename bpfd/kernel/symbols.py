# SPDX-License-Identifier: Apache-2.0
"""Functions in ELF files: from a name to the offset in the file at which it starts.

Files are read piece by piece with pread: a file that shrinks meanwhile gives a short read,
where a mapping would give SIGBUS. Every size in the file is held against the file's own
size before it is believed. Layouts: System V ABI (gABI 4.1), chapter "Object Files"; symbol
versions: Linux Standard Base, "Symbol Versioning".
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

_CHUNK = 1 << 20
_MAX_SECTIONS = 100_000
_MAX_TABLE = 1 << 30
_MAX_MATCHES = 1_000
_MAX_STRINGS = 200_000
_MAX_SYMBOL_TABLES = 8
_MAX_NAME = 4_096
_MAX_NAMES = 128 << 20

_SYMTAB, _DYNSYM, _VERDEF, _VERSYM = 2, 11, 0x6FFFFFFD, 0x6FFFFFFF
_FUNC, _IFUNC = 2, 10
_LOAD, _EXECUTE = 1, 1
_EXEC, _DYN = 2, 3
_ARM = 40

_HEADER_TAIL = {1: "HHIIIIIHHHHHH", 2: "HHIQQQIHHHHHH"}
_SECTION = {1: "IIIIIIIIII", 2: "IIQQQQIIQQ"}
_SEGMENT = {1: "IIIIIIII", 2: "IIQQQQQQ"}
_SYMBOL = {1: "IIIBBH", 2: "IBBHQQ"}


class BadElf(ValueError):
    """The file is not an ELF executable or library, or it is damaged; the text says how."""


@dataclass(frozen=True)
class Function:
    """A function symbol."""

    name: str
    version: str
    """Symbol version, "" without."""
    default: bool
    """The version that a program linked today gets."""
    binding: int
    """0 local, 1 global, 2 weak."""
    indirect: bool
    """IFUNC: the address is that of the function that chooses the implementation."""
    defined: bool
    """False: the file only imports it."""
    address: int
    size: int
    """Bytes; 0: not said."""
    file_offset: int
    """Bytes from the file's start; -1 when no segment of the file holds the address."""


@dataclass(frozen=True)
class _Section:
    type: int
    offset: int
    size: int
    link: int
    info: int


@dataclass(frozen=True)
class _Segment:
    executable: bool
    offset: int
    address: int
    size: int


@dataclass(frozen=True)
class _Versions:
    numbers: _Section
    names: dict[int, str]


class ElfFile:
    """An open ELF executable or shared library: `with ElfFile(path) as file: ...`.

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

    def __enter__(self) -> ElfFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def functions(self, name: str) -> list[Function]:
        """Every function symbol of that name, or of that name and version ("name@VERSION").

        The same function found in .symtab and .dynsym counts once. Raises BadElf.
        """
        name, at, version = name.partition("@")
        version = version.removeprefix("@")
        wanted = name.encode(errors="surrogateescape")
        if not wanted or b"\0" in wanted or len(wanted) > _MAX_NAME:
            return []
        found: dict[tuple[int, str, bool], Function] = {}
        for index in self._symbol_tables():
            for each in self._search(index, wanted):
                if not at or each.version == version:
                    key = (each.address, each.version, each.defined)
                    known = found.setdefault(key, each)
                    if each.default and not known.default:
                        found[key] = each
        return _without_shadows(list(found.values()))

    def function_names(self, limit: int = 2_000_000) -> Iterator[str]:
        """Names of defined functions in file order, at most `limit`; some may repeat."""
        for index in self._symbol_tables():
            table = self._sections[index]
            names = self._sections[table.link]
            if names.size > _MAX_NAMES:
                continue
            text = self._read(names.offset, names.size)
            for start, info, _, section, _, _ in self._symbols(table):
                if info & 15 in (_FUNC, _IFUNC) and section and start < len(text):
                    limit -= 1
                    if limit < 0:
                        return
                    end = text.find(b"\0", start, start + _MAX_NAME)
                    yield (
                        text[start : max(end, start)]
                        .partition(b"@")[0]
                        .decode(errors="replace")
                    )

    def matching(self, pattern: str) -> list[Function]:
        """Functions of the file whose names match a glob pattern, by their places.

        Of several names of one place the first is taken; what the loader chooses for the
        CPU (IFUNC) is left out. Raises BadElf.
        """
        fits = re.compile(fnmatch.translate(pattern).encode(errors="surrogateescape")).match
        found: dict[int, Function] = {}
        for index in self._symbol_tables():
            table = self._sections[index]
            names = self._sections[table.link]
            if names.size > _MAX_NAMES:
                raise BadElf(f"has {names.size >> 20} MB of names")
            text = self._read(names.offset, names.size)
            for start, info, _, section, value, size in self._symbols(table):
                if info & 15 != _FUNC or not section or start >= len(text):
                    continue
                end = text.find(b"\0", start, start + _MAX_NAME)
                name = text[start : max(end, start)].partition(b"@")[0]
                if not name or not fits(name):
                    continue
                address = value & ~1 if self._machine == _ARM else value
                place = self._file_offset(address)
                if place >= 0:
                    found.setdefault(
                        place,
                        Function(
                            name=name.decode(errors="replace"),
                            version="",
                            default=True,
                            binding=info >> 4,
                            indirect=False,
                            defined=True,
                            address=address,
                            size=size,
                            file_offset=place,
                        ),
                    )
        return [found[place] for place in sorted(found)]

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
        _, _, segment_size, segment_count, section_size, section_count, _ = header[6:]
        if kind not in (_EXEC, _DYN):
            raise BadElf("is neither an executable nor a shared library")
        self._sections = self._read_sections(sections_at, section_size, section_count)
        self._segments = self._read_segments(segments_at, segment_size, segment_count)

    def _read_sections(self, at: int, size: int, count: int) -> list[_Section]:
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
            _Section(kind, offset, length, link, info)
            for _, kind, _, _, offset, length, link, info, _, _ in layout.iter_unpack(data)
        ]

    def _read_segments(self, at: int, size: int, count: int) -> list[_Segment]:
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
                found.append(_Segment(bool(flags & _EXECUTE), offset, address, length))
        return found

    def _symbol_tables(self) -> list[int]:
        """Indexes of the symbol tables that have strings."""
        found = [
            index
            for index, table in enumerate(self._sections)
            if table.type in (_DYNSYM, _SYMTAB) and table.link < len(self._sections)
        ]
        if len(found) > _MAX_SYMBOL_TABLES:
            raise BadElf(f"has {len(found)} symbol tables")
        return found

    def _pieces(self, offset: int, size: int, unit: int = 1) -> Iterator[bytes]:
        if size > _MAX_TABLE:
            raise BadElf(f"has a table of {size >> 20} MB")
        step = _CHUNK // unit * unit
        for position in range(0, size, step):
            yield self._read(offset + position, min(step, size - position))

    def _symbols(self, table: _Section) -> Iterator[tuple[int, int, int, int, int, int]]:
        """(name, info, other, section, value, size) of every symbol."""
        layout = struct.Struct(self._order + _SYMBOL[self._bits])
        size = table.size // layout.size * layout.size
        for piece in self._pieces(table.offset, size, layout.size):
            for fields in layout.iter_unpack(piece):
                if self._bits == 2:
                    yield fields
                else:
                    name, value, length, info, other, section = fields
                    yield name, info, other, section, value, length

    def _search(self, index: int, wanted: bytes) -> Iterator[Function]:
        table = self._sections[index]
        names = self._sections[table.link]
        starts = self._string_offsets(names, wanted)
        if not starts:
            return
        versions = self._versions(index)
        matches = 0
        for position, symbol in enumerate(self._symbols(table)):
            start, info, _, section, value, size = symbol
            if start not in starts or info & 15 not in (_FUNC, _IFUNC):
                continue
            matches += 1
            if matches > _MAX_MATCHES:
                raise BadElf(f"has more than {_MAX_MATCHES} functions of that name")
            version, default = self._version(versions, position, names, start + len(wanted))
            address = value & ~1 if self._machine == _ARM else value
            yield Function(
                name=wanted.decode(errors="surrogateescape"),
                version=version,
                default=default,
                binding=info >> 4,
                indirect=info & 15 == _IFUNC,
                defined=section != 0,
                address=address,
                size=size,
                file_offset=self._file_offset(address),
            )

    def _string_offsets(self, strings: _Section, wanted: bytes) -> set[int]:
        """Where `wanted` ends a string of the table, or ends before the '@' of a version.

        A linker may let one string end inside another, so the start says nothing.
        """
        found: set[int] = set()
        rest, base = b"", 0
        for piece in self._pieces(strings.offset, strings.size):
            window = rest + piece
            at = window.find(wanted)
            while at >= 0:
                if window[at + len(wanted) : at + len(wanted) + 1] in (b"\0", b"@"):
                    found.add(base + at)
                    if len(found) > _MAX_STRINGS:
                        raise BadElf(f"has more than {_MAX_STRINGS} such strings")
                at = window.find(wanted, at + 1)
            rest = window[-len(wanted) :]
            base += len(window) - len(rest)
        return found

    def _version(
        self, versions: _Versions | None, position: int, strings: _Section, after: int
    ) -> tuple[str, bool]:
        """The version of a symbol whose name ends at `after`, and whether it is the default."""
        text = self._string(strings, after)
        if text.startswith("@"):  # .symtab spells it out: name@OLD, name@@DEFAULT
            return text.lstrip("@"), text.startswith("@@")
        if versions is None or position * 2 + 2 > versions.numbers.size:
            return "", True
        raw = self._read(versions.numbers.offset + position * 2, 2)
        (number,) = struct.unpack(self._order + "H", raw)
        return versions.names.get(number & 0x7FFF, ""), not number & 0x8000

    def _versions(self, index: int) -> _Versions | None:
        for numbers in self._sections:
            if numbers.type == _VERSYM and numbers.link == index:
                return _Versions(numbers, self._version_names())
        return None

    def _version_names(self) -> dict[int, str]:
        """Names of the versions that the file defines; 0 and 1 stand for none."""
        found: dict[int, str] = {}
        for section in self._sections:
            if section.type != _VERDEF or section.link >= len(self._sections):
                continue
            strings = self._sections[section.link]
            layout = struct.Struct(self._order + "HHHHIII")
            at = 0
            for _ in range(min(section.info, 0x8000)):
                if at + layout.size > section.size:
                    break
                fields = layout.unpack(self._read(section.offset + at, layout.size))
                _, _, number, count, _, names, following = fields
                if number >= 2 and count and at + names + 4 <= section.size:
                    raw = self._read(section.offset + at + names, 4)
                    (start,) = struct.unpack(self._order + "I", raw)
                    found.setdefault(number, self._string(strings, start))
                if not following:
                    break
                at += following
            break
        return found

    def _string(self, strings: _Section, start: int) -> str:
        length = min(_MAX_NAME, max(strings.size - start, 0))
        text = self._read(strings.offset + start, length).partition(b"\0")[0]
        return text.decode(errors="replace")

    def _file_offset(self, address: int) -> int:
        for each in sorted(self._segments, key=lambda segment: not segment.executable):
            if each.address <= address < each.address + each.size:
                return address - each.address + each.offset
        return -1


def _without_shadows(functions: list[Function]) -> list[Function]:
    """.symtab may repeat without version what .dynsym has with one."""
    versioned = {each.address for each in functions if each.version and each.defined}
    return [
        each
        for each in functions
        if each.version or not each.defined or each.address not in versioned
    ]
