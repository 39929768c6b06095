# SPDX-License-Identifier: Apache-2.0
"""Small binaries, compiled for several machines when the tests run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from tests.clang import CLANG

SOURCE = """\
int sink;
static inline __attribute__((always_inline)) int leaf(int x)
{
    return x * __builtin_popcount(x + sink);
}
static inline __attribute__((always_inline)) int middle(int x)
{
    return leaf(x + 1) * 3;
}
__attribute__((noinline)) int outer(int x)
{
    return middle(x) + sink;
}
static __attribute__((noinline)) int hidden(int x)
{
    return x + 7 * sink;
}
int exported(int x)
{
    return hidden(x) + 1;
}
"""

MACHINES = {
    "amd64": ["--target=x86_64-linux-gnu"],
    "arm64": ["--target=aarch64-linux-gnu"],
    "armhf": ["--target=armv7-linux-gnueabihf", "-mthumb"],
    "riscv64": ["--target=riscv64-linux-gnu"],
}

needs_clang = pytest.mark.skipif(
    not CLANG or not (shutil.which("ld.lld-19") or shutil.which("ld.lld")),
    reason="needs clang and lld",
)


def build(
    out: Path, *flags: str, machine: str = "amd64", source: str = SOURCE, suffix: str = "c"
) -> Path:
    """A shared library with debug information and build id, unless `flags` say otherwise."""
    text = out.with_name(f"{out.name}.{suffix}")
    text.write_text(source)
    command = [CLANG, *MACHINES[machine], "-g", "-O1", "-nostdlib", "-fPIC", "-shared"]
    command += ["-fuse-ld=lld", "-Wl,--build-id=sha1", *flags, str(text), "-o", str(out)]
    subprocess.run(command, check=True, cwd=out.parent)
    return out


def objcopy(*arguments: str | Path) -> None:
    """llvm-objcopy, which knows every machine."""
    tool = shutil.which("llvm-objcopy-19") or shutil.which("llvm-objcopy")
    assert tool is not None
    subprocess.run([tool, *map(str, arguments)], check=True)


def stripped(path: Path, out: Path) -> Path:
    """A copy as boards have it."""
    objcopy("--strip-all", path, out)
    return out


def address(path: Path, name: str) -> int:
    """Of a function, without the bit of Thumb code."""
    with open(path, "rb") as file:
        table: Any = ELFFile(file).get_section_by_name(".symtab")
        value = int(table.get_symbol_by_name(name)[0]["st_value"])
        return value & ~1 if ELFFile(file)["e_machine"] == "EM_ARM" else value


def section(path: Path, name: str) -> tuple[int, int]:
    """(offset in the file, bytes) of a section."""
    with open(path, "rb") as file:
        found: Any = ELFFile(file).get_section_by_name(name)
        return int(found["sh_offset"]), int(found["sh_size"])


def line_of(text: str, source: str = SOURCE) -> int:
    """The line that holds `text`."""
    return next(number for number, line in enumerate(source.splitlines(), 1) if text in line)
