# SPDX-License-Identifier: Apache-2.0
"""Functions in ELF files: from a name to the offset in the file at which it starts.

Symbol versions: Linux Standard Base, "Symbol Versioning".
"""

from __future__ import annotations

import fnmatch
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.kernel.elf_image import BadElf, ElfImage, Section

_CHUNK = 1 << 20
_MAX_TABLE = 1 << 30
_MAX_MATCHES = 1_000
_MAX_STRINGS = 200_000
_MAX_SYMBOL_TABLES = 8
_MAX_NAME = 4_096
_MAX_NAMES = 128 << 20

_SYMTAB, _DYNSYM, _VERDEF, _VERSYM = 2, 11, 0x6FFFFFFD, 0x6FFFFFFF
_FUNC, _IFUNC = 2, 10
_ARM = 40

_SYMBOL = {1: "IIIBBH", 2: "IBBHQQ"}


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
class _Versions:
    numbers: Section
    names: dict[int, str]


class ElfFile(ElfImage):
    """An ELF file with its functions: `with ElfFile(path) as file: ...`."""

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
                place = self.file_offset(address)
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

    def _symbols(self, table: Section) -> Iterator[tuple[int, int, int, int, int, int]]:
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
                file_offset=self.file_offset(address),
            )

    def _string_offsets(self, strings: Section, wanted: bytes) -> set[int]:
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
        self, versions: _Versions | None, position: int, strings: Section, after: int
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

    def _string(self, strings: Section, start: int) -> str:
        length = min(_MAX_NAME, max(strings.size - start, 0))
        text = self._read(strings.offset + start, length).partition(b"\0")[0]
        return text.decode(errors="replace")


def _without_shadows(functions: list[Function]) -> list[Function]:
    """.symtab may repeat without version what .dynsym has with one."""
    versioned = {each.address for each in functions if each.version and each.defined}
    return [
        each
        for each in functions
        if each.version or not each.defined or each.address not in versioned
    ]
