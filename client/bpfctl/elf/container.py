# SPDX-License-Identifier: Apache-2.0
"""The ELF container: sections and symbols of a relocatable BPF file, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SECTION_SYMBOL_BYTES = 24
"""sizeof(Elf64_Sym)."""

SECTION_HEADER_BYTES = 64
"""sizeof(Elf64_Shdr)."""

MAX_SYMBOLS = 1 << 20


class InvalidObject(ValueError):
    """The bytes are not a BPF object file that can be loaded; says what to do next."""


@dataclass(frozen=True)
class Section:
    """A section; `data` is empty for one without bits in the file (.bss)."""

    index: int
    name: str
    type: str
    size: int
    writable: bool
    executable: bool
    info: int
    """sh_info: of a relocation section, the index of the section it is for."""
    data: bytes


@dataclass(frozen=True)
class Symbol:
    """A symbol that is defined in a section."""

    name: str
    section: Section
    offset: int
    size: int
    kind: str
    """STT_FUNC, STT_OBJECT, STT_NOTYPE, ..."""
    is_global: bool


@dataclass(frozen=True)
class Undefined:
    """A symbol that the kernel, or its configuration, is to give."""

    name: str
    weak: bool
    """The object can do without."""


@dataclass(frozen=True)
class Container:
    """Sections in their order, symbols in the order of the symbol table."""

    big_endian: bool
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    externs: tuple[str, ...]
    """Names of undefined symbols."""
    symbol_table: tuple[Symbol | None, ...]
    """By index; None: undefined or absolute."""
    undefined: Mapping[int, Undefined]
    """By index in the symbol table."""

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)


def read(data: bytes, limit: int) -> Container:
    """Read the container; InvalidObject for whatever is wrong with it."""
    _check_header(data, limit)
    from io import BytesIO

    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(BytesIO(data))
        return _read(elf, data)
    except InvalidObject:
        raise
    except Exception as error:  # elftools raises whatever a damaged file makes it meet
        said = str(error) or type(error).__name__
        raise InvalidObject(f"the ELF file is damaged ({said}): build it again") from None


def check_size(size: int, limit: int) -> None:
    """Raise InvalidObject for an object of more than `limit` bytes."""
    if size > limit:
        raise InvalidObject(
            f"the object has {_bytes(size)} and {_bytes(limit)} are allowed: strip its"
            " DWARF with `llvm-strip -g`, or make large global arrays into maps"
        )


def _check_header(data: bytes, limit: int) -> None:
    check_size(len(data), limit)
    if data[:4] != b"\x7fELF":
        if not data:
            raise InvalidObject("the file is empty: build it again")
        if _looks_like_text(data):
            raise InvalidObject(
                "not an ELF file but a text: C sources are built first, with `bpfctl build`"
            )
        raise InvalidObject(
            "not an ELF file: it must be an object that clang -target bpf wrote"
        )
    if len(data) < 64:
        raise InvalidObject(f"the ELF file is truncated after {len(data)} bytes: copy it again")
    if data[5] not in (1, 2):
        raise InvalidObject(f"the ELF file is damaged (byte order {data[5]}): build it again")
    order = "big" if data[5] == 2 else "little"
    machine = int.from_bytes(data[18:20], order)  # type: ignore[arg-type]
    if machine != 247:  # EM_BPF, linux/elf-em.h
        raise InvalidObject(
            f"an ELF file for {_machine(machine)}, not for BPF: compile it with"
            " clang -target bpf, or with `bpfctl build`"
        )
    if data[4] != 2:
        raise InvalidObject("a 32-bit ELF file: BPF objects are 64-bit; build it again")
    kind = int.from_bytes(data[16:18], order)  # type: ignore[arg-type]
    if kind != 1:  # ET_REL
        names = {2: "an executable", 3: "a shared object", 4: "a core dump"}
        raise InvalidObject(
            f"{names.get(kind, f'an ELF file of type {kind}')}, not a relocatable object:"
            " compile it with -c"
        )


def _read(elf: Any, data: bytes) -> Container:
    start, entry = elf["e_shoff"], elf["e_shentsize"]
    if start == 0 or entry != SECTION_HEADER_BYTES:
        raise InvalidObject("the ELF file has no section headers: build it again")
    if start + entry > len(data):
        raise _truncated(start + entry, len(data))
    count = elf.num_sections()
    if start + entry * count > len(data):
        raise _truncated(start + entry * count, len(data))
    sections = tuple(_section(elf.get_section(index), index, data) for index in range(count))
    if not any(section.type == "SHT_SYMTAB" for section in sections):
        raise InvalidObject(
            "the object has no symbol table, so that no program of it can be found: strip"
            " no more than its DWARF, with `llvm-strip -g`"
        )
    symbols: list[Symbol | None] = []
    undefined: dict[int, Undefined] = {}
    for index, section in enumerate(sections):
        if section.type == "SHT_SYMTAB":
            _symbols(elf.get_section(index), sections, symbols, undefined)
    return Container(
        not elf.little_endian,
        sections,
        symbols=tuple(symbol for symbol in symbols if symbol is not None),
        externs=tuple(symbol.name for symbol in undefined.values()),
        symbol_table=tuple(symbols),
        undefined=undefined,
    )


def _section(raw: Any, index: int, data: bytes) -> Section:
    start, size, kind = raw["sh_offset"], raw["sh_size"], str(raw["sh_type"])
    content = b""
    if kind not in ("SHT_NOBITS", "SHT_NULL"):
        if start + size > len(data):
            raise _truncated(start + size, len(data))
        content = data[start : start + size]
    flags = raw["sh_flags"]
    return Section(
        index, raw.name, kind, size, bool(flags & 1), bool(flags & 4), raw["sh_info"], content
    )


def _symbols(
    raw: Any,
    sections: tuple[Section, ...],
    symbols: list[Symbol | None],
    undefined: dict[int, Undefined],
) -> None:
    if raw["sh_entsize"] != SECTION_SYMBOL_BYTES:
        raise InvalidObject("the ELF file is damaged (symbol size): build it again")
    if raw.num_symbols() > MAX_SYMBOLS:
        raise InvalidObject(f"the object has more than {MAX_SYMBOLS} symbols: split it")
    for symbol in raw.iter_symbols():
        where = symbol["st_shndx"]
        if not isinstance(where, int):
            if where == "SHN_UNDEF" and symbol.name:
                weak = symbol["st_info"]["bind"] == "STB_WEAK"
                undefined[len(symbols)] = Undefined(symbol.name, weak)
            symbols.append(None)
        else:
            if where >= len(sections):
                raise InvalidObject(
                    f"the ELF file is damaged (symbol {symbol.name} in section {where}):"
                    " build it again"
                )
            info = symbol["st_info"]
            symbols.append(
                Symbol(
                    name=symbol.name,
                    section=sections[where],
                    offset=symbol["st_value"],
                    size=symbol["st_size"],
                    kind=str(info["type"]),
                    is_global=info["bind"] != "STB_LOCAL",
                )
            )


def _truncated(needed: int, there: int) -> InvalidObject:
    return InvalidObject(
        f"the ELF file is truncated: it has {there} bytes and {needed} are needed; copy or"
        " build it again"
    )


def _machine(number: int) -> str:
    from elftools.elf.descriptions import describe_e_machine
    from elftools.elf.enums import ENUM_E_MACHINE

    names = {value: name for name, value in ENUM_E_MACHINE.items() if isinstance(value, int)}
    name = names.get(number)
    if name is None:
        return f"machine {number}"
    return f"{describe_e_machine(name)} ({name})"


def _looks_like_text(data: bytes) -> bool:
    head = data[:512]
    return b"\0" not in head and sum(byte >= 32 or byte in b"\t\r\n\f" for byte in head) == len(
        head
    )


def _bytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count} bytes"
