# SPDX-License-Identifier: Apache-2.0
"""Functions of ELF files that are made here, of all classes and byte orders, and hostile."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfd.kernel import symbols
from bpfd.kernel.elf_image import BadElf
from bpfd.kernel.symbols import ElfFile

FUNC, OBJECT, IFUNC = 2, 1, 10
LOCAL, GLOBAL = 0, 1
BASE, CODE = 0x10000, 0x1000
"""Where the code segment is in memory and in the file."""


class Builder:
    """An ELF file with one code segment, .symtab or .dynsym and versions."""

    def __init__(self, bits: int = 64, order: str = "<", machine: int = 62) -> None:
        self.bits, self.order, self.machine = bits, order, machine
        self.type = 3
        self.symbols: list[tuple[bytes, int, int, int, int, int]] = []
        self.numbers: list[int] = []
        self.versions: dict[int, bytes] = {}
        self.table = 2
        self.patch: dict[tuple[int, int], int] = {}

    def add(
        self,
        name: bytes,
        address: int,
        size: int = 16,
        kind: int = FUNC,
        binding: int = GLOBAL,
        section: int = 1,
        version: int = 0,
    ) -> Builder:
        self.symbols.append((name, address, size, kind, binding, section))
        self.numbers.append(version)
        return self

    def pack(self, layout: str, *values: int | bytes) -> bytes:
        return struct.pack(self.order + layout, *values)

    def symbol(self, name: int, value: int, size: int, info: int, section: int) -> bytes:
        if self.bits == 64:
            return self.pack("IBBHQQ", name, info, 0, section, value, size)
        return self.pack("IIIBBH", name, value, size, info, 0, section)

    def section(self, index: int, *values: int) -> bytes:
        fields = [self.patch.get((index, at), value) for at, value in enumerate(values)]
        return self.pack("IIQQQQIIQQ" if self.bits == 64 else "IIIIIIIIII", *fields)

    def build(self) -> bytes:
        strings, table = b"\0", self.symbol(0, 0, 0, 0, 0)
        for name, address, size, kind, binding, section in self.symbols:
            at = len(strings)
            strings += name + b"\0"
            table += self.symbol(at, address, size, binding << 4 | kind, section)
        verdef = b""
        for number, name in self.versions.items():
            at = len(strings)
            strings += name + b"\0"
            last = number == max(self.versions)
            verdef += self.pack("HHHHIII", 1, 0, number, 1, 0, 20, 0 if last else 28)
            verdef += self.pack("II", at, 0)
        versym = b"".join(self.pack("H", each) for each in (0, *self.numbers))
        parts = [strings, table, versym, verdef]
        start = CODE + 0x1000
        offsets = []
        body = b""
        for part in parts:
            offsets.append(start + len(body))
            body += part + bytes(-len(part) % 8)
        at = start + len(body)
        wide = self.bits == 64
        entry = 24 if wide else 16
        headers = [
            self.section(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
            self.section(1, 0, 3, 0, 0, offsets[0], len(strings), 0, 0, 1, 0),
            self.section(2, 0, self.table, 0, 0, offsets[1], len(table), 1, 1, 8, entry),
        ]
        if self.versions:
            headers.append(
                self.section(3, 0, 0x6FFFFFFF, 0, 0, offsets[2], len(versym), 2, 0, 2, 2)
            )
            count = len(self.versions)
            headers.append(
                self.section(4, 0, 0x6FFFFFFD, 0, 0, offsets[3], len(verdef), 1, count, 4, 0)
            )
        if wide:
            segment = self.pack("IIQQQQQQ", 1, 5, CODE, BASE, BASE, 0x1000, 0x1000, 0x1000)
        else:
            segment = self.pack("IIIIIIII", 1, CODE, BASE, BASE, 0x1000, 0x1000, 5, 0x1000)
        size = 64 if wide else 52
        ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if self.order == "<" else 2, 1])
        header = ident.ljust(16, b"\0") + self.pack(
            "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH",
            *(self.type, self.machine, 1, 0, size, at, 0, size, len(segment), 1),
            *(64 if wide else 40, len(headers), 0),
        )
        return (header + segment).ljust(start, b"\xcc") + body + b"".join(headers)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Builder | bytes], str]:
    def write(content: Builder | bytes) -> str:
        path = tmp_path / "binary"
        path.write_bytes(content if isinstance(content, bytes) else content.build())
        return str(path)

    return write


Written = Callable[[Builder | bytes], str]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_address_to_file_offset(written: Written, bits: int, order: str) -> None:
    content = Builder(bits, order).add(b"one", BASE + 0x40, 24).add(b"two", BASE + 0x80, 8)
    with ElfFile(written(content)) as file:
        (found,) = file.functions("two")
        assert (found.address, found.size, found.binding) == (BASE + 0x80, 8, GLOBAL)
        assert found.file_offset == CODE + 0x80
        assert (found.defined, found.indirect, found.version) == (True, False, "")
        assert list(file.function_names()) == ["one", "two"]
        assert file.functions("three") == []
        assert file.is_code(CODE)
        assert not file.is_code(CODE + 0x1000)
        assert not file.is_code(0)


def test_names_that_share_their_end(written: Written) -> None:
    content = Builder().add(b"xread", BASE).add(b"read", BASE + 16)
    raw = content.build()
    # "read" as a linker writes it: inside "xread".
    merged = raw.replace(
        struct.pack("<IBBHQQ", 7, GLOBAL << 4 | FUNC, 0, 1, BASE + 16, 16),
        struct.pack("<IBBHQQ", 2, GLOBAL << 4 | FUNC, 0, 1, BASE + 16, 16),
    )
    assert merged != raw
    with ElfFile(written(merged)) as file:
        assert [each.address for each in file.functions("read")] == [BASE + 16]
        assert file.functions("ead") == []


def test_a_name_across_two_pieces(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Builder()
    for number in range(50):
        content.add(b"function_%d" % number, BASE + number)
    path = written(content)
    for chunk in (24, 25, 31, 48):
        monkeypatch.setattr(symbols, "_CHUNK", chunk)
        with ElfFile(path) as file:
            for number in (0, 7, 33, 49):
                (found,) = file.functions(f"function_{number}")
                assert found.address == BASE + number
            assert len(list(file.function_names())) == 50


def test_what_is_no_function(written: Written) -> None:
    content = Builder().add(b"data", BASE, kind=OBJECT).add(b"import", 0, section=0)
    content.add(b"chosen", BASE + 8, kind=IFUNC).add(b"elsewhere", 0x99999999)
    with ElfFile(written(content)) as file:
        assert file.functions("data") == []
        assert [each.defined for each in file.functions("import")] == [False]
        assert [each.indirect for each in file.functions("chosen")] == [True]
        assert [each.file_offset for each in file.functions("elsewhere")] == [-1]
        assert file.functions("") == []
        assert file.functions("a\0b") == []
        assert file.functions("x" * 10_000) == []


def test_versions_of_dynsym(written: Written) -> None:
    content = Builder()
    content.table = 11
    content.versions = {2: b"V_1", 3: b"V_2"}
    content.add(b"open", BASE, version=0x8002).add(b"open", BASE + 8, version=3)
    with ElfFile(written(content)) as file:
        found = [(each.version, each.default, each.address) for each in file.functions("open")]
        assert found == [("V_1", False, BASE), ("V_2", True, BASE + 8)]
        assert [each.address for each in file.functions("open@V_1")] == [BASE]
        assert [each.address for each in file.functions("open@@V_2")] == [BASE + 8]
        assert file.functions("open@V_3") == []


def test_versions_spelled_out_in_symtab(written: Written) -> None:
    content = Builder().add(b"open@V_1", BASE).add(b"open@@V_2", BASE + 8)
    content.add(b"openat", BASE + 16)
    with ElfFile(written(content)) as file:
        found = [(each.version, each.default) for each in file.functions("open")]
        assert found == [("V_1", False), ("V_2", True)]
        assert list(file.function_names()) == ["open", "open", "openat"]


def test_thumb_bit(written: Written) -> None:
    content = Builder(32, machine=40).add(b"thumb", BASE + 0x21)
    with ElfFile(written(content)) as file:
        assert file.functions("thumb")[0].file_offset == CODE + 0x20


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an ELF"),
        (b"#!/bin/sh\n" * 20, "not an ELF"),
        (b"\x7fELF" + bytes(60), "unknown class"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "neither an executable"),
    ],
)
def test_other_files(written: Written, content: bytes, why: str) -> None:
    with pytest.raises(BadElf, match=why):
        ElfFile(written(content))


def test_an_object_file_is_refused(written: Written) -> None:
    content = Builder()
    content.type = 1
    with pytest.raises(BadElf, match="neither"):
        ElfFile(written(content))


def test_what_is_no_file_at_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadElf, match="regular"):
        ElfFile(str(tmp_path / "pipe"))
    with pytest.raises(IsADirectoryError):
        ElfFile(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        ElfFile(str(tmp_path / "none"))


def test_a_file_that_shrinks_while_it_is_read(written: Written) -> None:
    content = Builder().add(b"one", BASE)
    path = written(content)
    with ElfFile(path) as file:
        os.truncate(path, 100)
        with pytest.raises(BadElf, match="truncated"):
            file.functions("one")


SECTION_FIELDS = {"type": 1, "offset": 4, "size": 5, "link": 6, "info": 7}


@pytest.mark.parametrize("section", [1, 2, 3, 4])
@pytest.mark.parametrize("field", SECTION_FIELDS)
@pytest.mark.parametrize("value", [0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF])
def test_lies_in_section_headers(
    written: Written, section: int, field: str, value: int
) -> None:
    content = Builder()
    content.table = 11
    content.versions = {2: b"V_1", 3: b"V_2"}
    content.add(b"open", BASE, version=2)
    content.patch[section, SECTION_FIELDS[field]] = value
    _survives(written(content))


def test_many_matches_and_many_tables_are_refused(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Builder()
    for _ in range(5):
        content.add(b"same", BASE)
    path = written(content)
    monkeypatch.setattr(symbols, "_MAX_MATCHES", 4)
    with ElfFile(path) as file, pytest.raises(BadElf, match="more than 4 functions"):
        file.functions("same")
    monkeypatch.setattr(symbols, "_MAX_STRINGS", 4)
    with ElfFile(path) as file, pytest.raises(BadElf, match="more than 4 such strings"):
        file.functions("same")
    monkeypatch.setattr(symbols, "_MAX_SYMBOL_TABLES", 0)
    with ElfFile(path) as file, pytest.raises(BadElf, match="symbol tables"):
        file.functions("same")
    monkeypatch.setattr(symbols, "_MAX_TABLE", 8)
    monkeypatch.setattr(symbols, "_MAX_SYMBOL_TABLES", 8)
    with ElfFile(path) as file, pytest.raises(BadElf, match="a table of"):
        file.functions("same")


def test_random_damage_is_survived(written: Written) -> None:
    content = Builder()
    content.table = 11
    content.versions = {2: b"V_1", 3: b"V_2"}
    content.add(b"open", BASE, version=2).add(b"close", BASE + 16, version=0x8003)
    raw = content.build()
    interesting = [*range(120), *range(CODE + 0x1000, len(raw))]
    dice = random.Random(7)
    for _ in range(400):
        damaged = bytearray(raw)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.choice(interesting)] = dice.choice((0, 1, 2, 0x7F, 0x80, 0xFF))
        _survives(written(bytes(damaged)))
    for size in range(0, len(raw), 97):
        _survives(written(raw[:size]))


def _survives(path: str) -> None:
    """Either an answer or BadElf, nothing else."""
    before = len(os.listdir("/proc/self/fd"))
    try:
        with ElfFile(path) as file:
            for each in file.functions("open"):
                assert each.name == "open"
            assert len(list(file.function_names())) < 1000
    except BadElf as error:
        assert str(error)  # noqa: PT017
    assert len(os.listdir("/proc/self/fd")) == before


def test_functions_that_match_a_pattern(written: Written) -> None:
    content = Builder().add(b"hk_two", BASE + 0x80).add(b"hk_one", BASE + 0x40)
    content.add(b"hk_alias@V1", BASE + 0x40).add(b"other", BASE + 0x20)
    content.add(b"hk_chosen", BASE + 0x60, kind=IFUNC).add(b"hk_data", BASE + 1, kind=OBJECT)
    content.add(b"hk_imported", 0, section=0).add(b"hk_nowhere", BASE + 0x100000)
    with ElfFile(written(content)) as file:
        found = [(each.name, each.file_offset) for each in file.matching("hk_*")]
        assert file.matching("hk_?") == []
    assert found == [("hk_one", CODE + 0x40), ("hk_two", CODE + 0x80)]
