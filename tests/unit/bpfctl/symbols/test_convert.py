# SPDX-License-Identifier: Apache-2.0
"""Binaries of several machines and compilers into functions, lines and inlined functions."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from bpfctl.symbols import convert, elf
from bpfctl.symbols.elf import Level
from bpfctl.symbols.symcaches import Symbols, Symcaches

from .built import MACHINES, address, build, line_of, needs_clang, objcopy, section, stripped
from .conftest import APART

pytestmark = needs_clang


def symbols_of(path: Path) -> Symbols:
    """As Symcaches does, without a process of its own."""
    from symbolic.symcache import SymCache

    converted = convert.convert(path.read_bytes())
    with open(path, "rb") as file:
        return Symbols(SymCache.from_bytes(converted.symcache), elf.facts(file), converted.note)


@pytest.fixture(scope="module", params=list(MACHINES))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source above, for each machine."""
    folder = tmp_path_factory.mktemp("library")
    return build(folder / "lib.so", machine=request.param)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source above, for one machine."""
    return build(tmp_path_factory.mktemp("binary") / "lib.so")


def near(symbols: Symbols, begin: int, length: int = 48) -> list[tuple[str, ...]]:
    """Names at each address of a function, what was inlined first; without repetition."""
    found = [tuple(each.name for each in symbols.find(begin + at)) for at in range(length)]
    return list(dict.fromkeys(found))


def test_inlined_functions_and_lines(library: Path) -> None:
    binary = library
    symbols = symbols_of(binary)
    assert symbols.facts.level is Level.LINES
    assert not symbols.note
    begin = address(binary, "outer")
    assert ("leaf", "middle", "outer") in near(symbols, begin)
    located = next(
        found
        for at in range(64)
        if len(found := symbols.find(begin + at)) == 3 and found[0].name == "leaf"
    )
    assert [each.line for each in located] == [
        line_of("__builtin_popcount"),
        line_of("leaf(x + 1)"),
        line_of("middle(x)"),
    ]
    assert {each.file for each in located} == {str(binary) + ".c"}
    exact = symbols.find(begin)
    assert (exact[-1].name, exact[-1].offset) == ("outer", 0)
    # The very first instruction has its line, too: on ARM that of Thumb code was odd.
    assert exact[-1].line == line_of("int outer(int x)") or exact[0].line > 0


def test_without_debug_information_there_are_functions(library: Path, tmp_path: Path) -> None:
    binary = library
    objcopy("--strip-debug", binary, tmp_path / "lib.so")
    symbols = symbols_of(tmp_path / "lib.so")
    assert symbols.facts.level is Level.SYMBOLS
    begin = address(binary, "outer")
    (found,) = symbols.find(begin)
    assert (found.name, found.file, found.line, found.offset) == ("outer", "", 0, 0)
    assert symbols.find(begin + 2)[0].offset == 2
    assert symbols.find(address(binary, "hidden"))[0].name == "hidden"


def test_what_is_not_exported_gets_no_other_name(binary: Path, tmp_path: Path) -> None:
    symbols = symbols_of(stripped(binary, tmp_path / "stripped.so"))
    assert symbols.facts.level is Level.EXPORTS
    assert symbols.find(address(binary, "exported"))[0].name == "exported"
    assert symbols.find(address(binary, "hidden") + 1) == ()


@pytest.mark.parametrize("how", ["zlib", "zstd"])
def test_compressed_debug_sections(how: str, binary: Path, tmp_path: Path) -> None:
    objcopy(f"--compress-debug-sections={how}", binary, tmp_path / "small.so")
    symbols = symbols_of(tmp_path / "small.so")
    assert ("leaf", "middle", "outer") in near(symbols, address(binary, "outer"))


@pytest.mark.parametrize("name", [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str"])
def test_damaged_debug_information_leaves_functions(
    name: str, binary: Path, tmp_path: Path
) -> None:
    begin, size = section(binary, name)
    for seed in range(3):
        data = bytearray(binary.read_bytes())
        noise = (bytes([0xFF]) * size, random.Random(5).randbytes(size), bytes(size))[seed]
        data[begin : begin + size] = noise
        damaged = tmp_path / f"damaged-{seed}.so"
        damaged.write_bytes(data)
        symbols = symbols_of(damaged)
        found = symbols.find(address(binary, "exported"))
        assert found[-1].name == "exported"
        # What .debug_str alone names is told by the symbols.
        assert ("damaged" in symbols.note) is (name != ".debug_str")


def test_unreadable_debug_information_is_said(binary: Path, tmp_path: Path) -> None:
    data = bytearray(binary.read_bytes())
    begin, _ = section(binary, ".debug_info")
    data[begin : begin + 4] = b"\xf0\xff\xff\x7f"
    (tmp_path / "damaged.so").write_bytes(data)
    symbols = symbols_of(tmp_path / "damaged.so")
    assert symbols.find(address(binary, "hidden"))[-1].name == "hidden"
    assert "its debug information is damaged" in symbols.note


def test_no_elf_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("text")
    assert "sound ELF" in APART(path, tmp_path / "out")["error"]
    for data in (
        b"",
        b"text",
        b"\x7fELF" + bytes(12),
        b"\x7fELF\x02\x01\x01" + random.Random(5).randbytes(90),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="ELF"):
            Symcaches().make("text", path)


def test_cut_files_do_no_harm(binary: Path) -> None:
    data = binary.read_bytes()
    for length in (64, 200, len(data) // 2, len(data) - 100):
        with pytest.raises(ValueError, match=r"."):
            convert.convert(data[:length])


def test_functions_within_gnu_debugdata(binary: Path, tmp_path: Path) -> None:
    import lzma

    packed = tmp_path / "packed.xz"
    objcopy("--strip-debug", binary, tmp_path / "functions.so")
    packed.write_bytes(lzma.compress((tmp_path / "functions.so").read_bytes()))
    bare = stripped(binary, tmp_path / "bare.so")
    objcopy("--add-section", f".gnu_debugdata={packed}", bare, tmp_path / "mini.so")
    symbols = symbols_of(tmp_path / "mini.so")
    assert symbols.facts.level is Level.SYMBOLS
    assert symbols.find(address(binary, "hidden"))[0].name == "hidden"


def test_a_process_of_its_own_gives_the_same(binary: Path, tmp_path: Path) -> None:
    apart = APART(binary, tmp_path / "apart")
    here = convert.answer(str(binary), str(tmp_path / "here"))
    assert apart == json.loads(json.dumps(here))
    assert apart["error"] == ""
    assert (tmp_path / "apart").read_bytes() == (tmp_path / "here").read_bytes() != b""


def test_a_reader_that_dies_is_said(
    binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ValueError, match="ended with 1"):
        APART(binary, tmp_path / "out")


def test_split_debug_information_is_known(tmp_path: Path) -> None:
    binary = build(tmp_path / "lib.so", "-gsplit-dwarf", "-gdwarf-5")
    with open(binary, "rb") as file:
        assert elf.facts(file).split
    symbols = symbols_of(binary)
    assert symbols.find(address(binary, "hidden"))[-1].name == "hidden"


CXX = """\
namespace space { template <class T> struct Box {
    __attribute__((noinline)) T take(T x, const char *) { return x + sink; }
    static T sink;
}; template <class T> T Box<T>::sink; }
int use(int x) { return space::Box<int>().take(x, ""); }
"""


def test_names_of_cxx(tmp_path: Path) -> None:
    binary = build(tmp_path / "lib.so", source=CXX, suffix="cc")
    begin = address(binary, "_ZN5space3BoxIiE4takeEiPKc")
    for path in (binary, tmp_path / "symbols.so"):
        if path != binary:
            objcopy("--strip-debug", binary, path)
        found = symbols_of(path).find(begin)
        assert found[-1].name == "space::Box<int>::take(int, char const*)"


def test_names_of_rust(tmp_path: Path) -> None:
    older, newer = "_ZN4core3ptr12Box$LT$T$GT$4take17h0123456789abcdefE", "_RNvC6_123foo3bar"
    source = f'int take(void) __asm__("{older}"); int take(void) {{ return 1; }}\n'
    source += f'int bar(void) __asm__("{newer}"); int bar(void) {{ return 2; }}\n'
    binary = build(tmp_path / "lib.so", "-g0", source=source)
    symbols = symbols_of(binary)
    assert symbols.find(address(binary, older))[0].name == "core::ptr::Box<T>::take"
    assert symbols.find(address(binary, newer))[0].name == "123foo::bar"
