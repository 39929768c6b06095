# SPDX-License-Identifier: Apache-2.0
"""An ELF file into a symcache: ranges of addresses with functions, lines and inlined
functions, which `symbolic` maps and searches.

`python -m bpfctl.symbols.convert FILE OUT` in a process of its own: files of targets may be
damaged or hostile, and what reads them may then end, hang or want all memory there is.
"""

from __future__ import annotations

import json
import lzma
import resource
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

_SHT_NOBITS = 8
_STT_FUNC = 2
_MAX_DEBUGDATA = 256 << 20
_MAX_MEMORY = 16 << 30


@dataclass(frozen=True)
class Converted:
    """What became of a file."""

    symcache: bytes
    note: str = ""
    """What is weaker than it could be; empty: nothing."""


def convert(data: bytes) -> Converted:
    """The symcache of an ELF file. Raises ValueError where there is nothing to be had."""
    from io import BytesIO

    from elftools.elf.elffile import ELFFile

    try:
        return _convert(ELFFile(BytesIO(data)), data)
    except ValueError:
        raise
    except Exception as error:
        # Of damaged files pyelftools raises whatever it meets.
        raise ValueError(f"it is no sound ELF file: {error!r}") from None


def _convert(elf: ELFFile, data: bytes) -> Converted:
    within = _debugdata(elf) if elf.get_section_by_name(".symtab") is None else b""
    if within and elf.get_section_by_name(".debug_info") is None:
        # `symbolic` does not look there.
        return convert(within)
    mutable = bytearray(data) if elf["e_machine"] == "EM_ARM" else None
    if mutable is not None:
        _clear_thumb_bits(elf, mutable)
        data = bytes(mutable)
    try:
        return Converted(_symcache(data))
    except ValueError as error:
        mutable = bytearray(data)
        if not _without_debug(elf, mutable):
            raise
        why = (str(error).splitlines() or [""])[0]
        return Converted(
            _symcache(bytes(mutable)),
            f"its debug information is damaged ({why}): functions without lines",
        )


def _symcache(data: bytes) -> bytes:
    from symbolic.debuginfo import Archive
    from symbolic.exceptions import SymbolicError

    try:
        for each in Archive.from_bytes(data).iter_objects():
            return bytes(each.make_symcache().open_stream().read())
    except SymbolicError as error:
        raise ValueError(error.message) from None
    raise ValueError("it holds no object")


def _debugdata(elf: ELFFile) -> bytes:
    """The ELF file with symbols that .gnu_debugdata holds (MiniDebugInfo of GDB)."""
    section = elf.get_section_by_name(".gnu_debugdata")
    if section is None:
        return b""
    try:
        return lzma.LZMADecompressor(memlimit=1 << 30).decompress(
            section.data(), _MAX_DEBUGDATA
        )
    except (lzma.LZMAError, MemoryError):
        return b""


def _clear_thumb_bits(elf: ELFFile, data: bytearray) -> None:
    """Bit 0 of a function's address says that it is Thumb code, and is no part of it."""
    order = "<" if elf.little_endian else ">"
    for section in elf.iter_sections():
        if section["sh_type"] not in ("SHT_SYMTAB", "SHT_DYNSYM"):
            continue
        begin, size = section["sh_offset"], section["sh_size"]
        for at in range(begin, min(begin + size, len(data) - 15), 16):
            value = struct.unpack_from(order + "I", data, at + 4)[0]
            if value & 1 and data[at + 12] & 15 == _STT_FUNC:
                struct.pack_into(order + "I", data, at + 4, value & ~1)


def _without_debug(elf: ELFFile, data: bytearray) -> bool:
    """Says of debug sections that they have no content; False: there are none."""
    found = False
    order = "<" if elf.little_endian else ">"
    for number in range(elf.num_sections()):
        name = elf.get_section(number).name
        if name.startswith((".debug_", ".zdebug_")):
            at = elf["e_shoff"] + number * elf["e_shentsize"]
            struct.pack_into(order + "I", data, at + 4, _SHT_NOBITS)
            found = True
    return found


def answer(path: str, out: str) -> dict[str, Any]:
    """Writes the symcache of a file; gives its "facts", a "note", or an "error"."""
    from bpfctl.symbols import elf

    found: dict[str, Any] = {"note": "", "error": ""}
    with open(path, "rb") as file:
        try:
            found["facts"] = elf.facts(file).to_json()
            file.seek(0)
            converted = convert(file.read())
        except ValueError as error:
            return {**found, "error": str(error)}
    with open(out, "wb") as result:
        result.write(converted.symcache)
    return {**found, "note": converted.note}


def main(arguments: list[str]) -> int:
    """FILE OUT; what `answer` gives goes to standard output as JSON."""
    path, out = arguments
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    json.dump(answer(path, out), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
