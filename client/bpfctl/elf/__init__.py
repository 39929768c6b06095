# SPDX-License-Identifier: Apache-2.0
"""BPF object files as clang writes them: what is in them, without a kernel."""

from __future__ import annotations

import bisect
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from . import container
from .container import InvalidObject, check_size

if TYPE_CHECKING:
    from .debug import CoreRelocation, Line, TypeInfo

__all__ = [
    "DEFAULT_LIMIT",
    "Function",
    "InvalidObject",
    "Map",
    "ObjectFile",
    "Variable",
    "check_size",
]

DEFAULT_LIMIT = 64 << 20
"""Bytes of an object that `ObjectFile.parse` takes unless told otherwise."""

TEXT = ".text"

_DATA = (".data", ".rodata", ".bss")
_STRUCT_OPS = (".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link")


@dataclass(frozen=True)
class Function:
    """A program, or in .text a function that programs call."""

    name: str
    section: str
    offset: int
    """Bytes from the start of the section."""
    size: int

    @property
    def instructions(self) -> int:
        """Number of 8-byte instructions."""
        return self.size // 8

    @property
    def start(self) -> int:
        """Index of its first instruction in the section."""
        return self.offset // 8


@dataclass(frozen=True)
class Map:
    """A map that loading the object makes."""

    name: str
    kind: str
    """map: of SEC(".maps"); data: global variables; kconfig; struct_ops."""
    size: int = 0
    """Bytes of the global variables."""


@dataclass(frozen=True)
class Variable:
    """A global variable, and where a constant for it is written."""

    name: str
    map: str
    """Section, that is, name of the map in the object: ".rodata"."""
    offset: int
    size: int
    type_id: int
    """In the object's BTF; 0: no BTF."""


@dataclass(frozen=True)
class ObjectFile:
    """A parsed object; see `parse`."""

    data: bytes = field(repr=False)
    big_endian: bool
    license: str
    """Empty: none; GPL-only helpers then are refused."""
    programs: tuple[Function, ...]
    """Entry programs in the order of the file."""
    subprograms: tuple[Function, ...]
    """Functions of .text."""
    maps: tuple[Map, ...]
    variables: Mapping[str, Variable]
    btf: bytes = field(repr=False)
    """Raw .BTF; empty: compiled without -g."""
    btf_ext: bytes = field(repr=False)
    contents: Mapping[str, bytes] = field(repr=False)
    """Initial bytes of the global variables by section; .bss has none."""

    @classmethod
    def parse(cls, data: bytes, limit: int = DEFAULT_LIMIT) -> ObjectFile:
        """Read an object file; raises InvalidObject, and nothing else, for bad bytes."""
        elf = container.read(data, limit)
        symbols = [entry for entry in elf.symbols if entry.kind == "STT_FUNC" and entry.name]
        for symbol in symbols:
            _check_inside(symbol)
        symbols.sort(key=lambda symbol: (symbol.section.index, symbol.offset))
        functions = [
            Function(symbol.name, symbol.section.name, symbol.offset, symbol.size)
            for symbol in symbols
        ]
        btf = _content(elf, ".BTF")
        types = _types(btf, elf.big_endian)
        result = cls(
            data=data,
            big_endian=elf.big_endian,
            license=_content(elf, "license").split(b"\0")[0].decode("utf-8", "replace"),
            programs=tuple(entry for entry in functions if entry.section != TEXT),
            subprograms=tuple(entry for entry in functions if entry.section == TEXT),
            maps=_maps(elf, types),
            variables=_variables(elf, types),
            btf=btf,
            btf_ext=_content(elf, ".BTF.ext"),
            contents={entry.name: entry.data for entry in elf.sections if _is_data(entry)},
        )
        if not result.programs and not result.maps:
            raise InvalidObject(
                "the object has no programs and no maps: mark programs with SEC(...) and"
                ' maps with SEC(".maps")'
                if not elf.section("maps")
                else 'the object has maps of the old kind in SEC("maps"), which libbpf 1.0'
                ' dropped: declare them in SEC(".maps")'
            )
        return result

    @cached_property
    def types(self) -> TypeInfo | None:
        """The object's BTF; None: compiled without -g."""
        return _types(self.btf, self.big_endian)

    @cached_property
    def lines(self) -> Mapping[str, tuple[Line, ...]]:
        """Source lines by section, in the order of instructions; InvalidObject if damaged."""
        from . import debug

        if self.types is None or not self.btf_ext:
            return {}
        return debug.lines(self.btf_ext, self.types, self.big_endian)

    @cached_property
    def core_relocations(self) -> Mapping[str, tuple[CoreRelocation, ...]]:
        """CO-RE relocations by section; InvalidObject if damaged."""
        from . import debug

        if self.types is None or not self.btf_ext:
            return {}
        return debug.core_relocations(self.btf_ext, self.types, self.big_endian)

    def program(self, name: str) -> Function | None:
        """The entry program of that name."""
        return next((program for program in self.programs if program.name == name), None)

    def layout(self, program: Function) -> tuple[tuple[int, Function], ...]:
        """The functions of a loaded program and the index each one starts at.

        libbpf puts the functions that a program calls behind it; the verifier counts
        instructions through all of them.
        """
        from . import layout

        return layout.layout(self, program)

    def line_at(self, section: str, instruction: int) -> Line | None:
        """The source line of an instruction, an index in the section."""
        entries = self.lines.get(section, ())
        place = bisect.bisect_right(entries, instruction, key=lambda line: line.instruction)
        return entries[place - 1] if place else None

    def variable(self, name: str) -> Variable:
        """The global variable of that name; LookupError with near names if there is none."""
        if name in self.variables:
            return self.variables[name]
        near = difflib.get_close_matches(name, list(self.variables), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise LookupError(f"the object has no global variable {name!r}{hint}")

    def initial(self, name: str) -> bytes:
        """The bytes that the source gives a global variable; LookupError if there is none."""
        variable = self.variable(name)
        end = variable.offset + variable.size
        return self.contents[variable.map][variable.offset : end].ljust(variable.size, b"\0")

    def encode(self, name: str, value: bool | int | str) -> bytes:
        """The bytes of a constant for a variable, in the object's byte order.

        A text is written into a char array and filled up with NUL. Raises LookupError for
        an unknown variable and ValueError for a value that does not fit.
        """
        variable = self.variable(name)
        if isinstance(value, str):
            raw = value.encode()
            if len(raw) >= variable.size:
                raise ValueError(
                    f"{name} holds {variable.size - 1} bytes of text, not {len(raw)}"
                )
            return raw.ljust(variable.size, b"\0")
        if variable.size not in (1, 2, 4, 8):
            raise ValueError(f"{name} has {variable.size} bytes and is not a number")
        try:
            return int(value).to_bytes(
                variable.size, "big" if self.big_endian else "little", signed=value < 0
            )
        except OverflowError:
            raise ValueError(
                f"{value} does not fit in the {variable.size} bytes of {name}"
            ) from None


def _content(elf: container.Container, name: str) -> bytes:
    section = elf.section(name)
    return section.data if section else b""


def _types(btf: bytes, big_endian: bool) -> TypeInfo | None:
    from . import debug

    return debug.TypeInfo(btf, big_endian) if btf else None


def _is_data(section: container.Section) -> bool:
    name = section.name
    return section.size > 0 and any(
        name == stem or name.startswith(f"{stem}.") for stem in _DATA
    )


def _maps(elf: container.Container, types: TypeInfo | None) -> tuple[Map, ...]:
    maps = [
        Map(symbol.name, "map")
        for symbol in elf.symbols
        if symbol.section.name == ".maps" and symbol.kind == "STT_OBJECT" and symbol.name
    ]
    maps += [
        Map(symbol.name, "struct_ops")
        for symbol in elf.symbols
        if symbol.section.name in _STRUCT_OPS and symbol.kind == "STT_OBJECT" and symbol.name
    ]
    maps += [
        Map(section.name, "data", section.size) for section in elf.sections if _is_data(section)
    ]
    if types is not None and elf.externs and types.section_variables(".kconfig"):
        maps.append(Map(".kconfig", "kconfig"))
    return tuple(maps)


def _check_inside(symbol: container.Symbol) -> None:
    if symbol.offset + symbol.size > symbol.section.size:
        raise InvalidObject(
            f"the ELF file is damaged ({symbol.name} is outside of its section): build it again"
        )


def _variables(elf: container.Container, types: TypeInfo | None) -> dict[str, Variable]:
    type_ids = types.variables() if types is not None else {}
    found: dict[str, Variable] = {}
    for symbol in elf.symbols:
        if symbol.kind != "STT_OBJECT" or not symbol.name or not _is_data(symbol.section):
            continue
        _check_inside(symbol)
        if symbol.name in found and not symbol.is_global:
            continue
        found[symbol.name] = Variable(
            name=symbol.name,
            map=symbol.section.name,
            offset=symbol.offset,
            size=symbol.size,
            type_id=type_ids.get(symbol.name, 0),
        )
    return found
