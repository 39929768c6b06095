# SPDX-License-Identifier: Apache-2.0
"""A shared library with functions to probe, and programs that count their calls."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfd.attach.attachment import Program
from bpfd.kernel import elf_object, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions
from tests.kernel import clang
from tests.kernel.hooks_support import open_fds


def build(folder: Path, name: str, source: str) -> str:
    """Path of the library libNAME.so; of a board the one that was compiled beforehand."""
    if (objects := clang.objects_folder()) is not None:
        ready = objects / f"lib{name}.so"
        if not ready.exists():
            pytest.skip(f"lib{name}.so was not compiled beforehand")
        return str(ready)
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "clang-16"))), None)
    if compiler is None:
        pytest.skip("needs a C compiler")
    (folder / f"{name}.c").write_text(source)
    target = folder / f"lib{name}.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-g0", "-fno-inline", "-o", str(target)]
    subprocess.run([*command, str(folder / f"{name}.c")], check=True)
    return str(target)


class Counted:
    """Loaded programs, and how often they ran."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.only(os.getpid())

    def __getitem__(self, name: str) -> Program:
        found = self.loaded.programs[name]
        return Program(found.fd, found.id, name, found.type, found.expected_attach_type)

    def only(self, pid: int) -> None:
        """This process is counted; 0: every one."""
        fd = self.loaded.maps["only"].fd
        syscall.map_update_elem(fd, struct.pack("=I", 0), struct.pack("=I", pid))

    def word(self, index: int, map_name: str = "runs") -> int:
        """A counter."""
        fd = self.loaded.maps[map_name].fd
        value = syscall.map_lookup_elem(fd, struct.pack("=I", index), 8)
        return int(struct.unpack("=Q", value)[0])

    @property
    def runs(self) -> dict[int, int]:
        """Counters that are not 0, by their index."""
        return {index: count for index in range(16) if (count := self.word(index))}


@contextmanager
def counted(name: str, kind: str) -> Iterator[Counted]:
    """A program file with this define, loaded; fails when files are left open."""
    elf = clang.compiled(name, kind)
    before = open_fds()
    loaded = elf_object.load(name, elf, LoadOptions())
    try:
        yield Counted(loaded)
    finally:
        loaded.close()
    assert open_fds() <= before, "files are left open"


class OtherProcess:
    """A process that calls functions of a library when it is told to."""

    def __init__(self, path: str) -> None:
        code = f"import ctypes\nlib = ctypes.CDLL({path!r})\nprint(flush=True)\n"
        code += "while name := input():\n    getattr(lib, name)(1)\n    print(flush=True)"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _answer(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "\n"

    def call(self, name: str) -> None:
        """Has called the function on return."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        self._answer()

    def __enter__(self) -> OtherProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate("\n")


def library(path: str) -> ctypes.CDLL:
    """The library, in this process."""
    return ctypes.CDLL(path)
