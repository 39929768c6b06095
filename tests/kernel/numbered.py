# SPDX-License-Identifier: Apache-2.0
"""Programs that share their numbers with the test (programs/numbers.h)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bpfd.attach.attachment import Program
from bpfd.kernel import elf_object, syscall
from bpfd.kernel.load_options import Loaded, LoadOptions
from tests.kernel import clang
from tests.kernel.hooks_support import open_fds

_RUNS, _SETTING, _SEEN = range(3)


class Numbered:
    """Loaded programs, and the numbers of enum number."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def __getitem__(self, name: str) -> Program:
        found = self._loaded.programs[name]
        return Program(found.fd, found.id, name, found.type, found.expected_attach_type)

    def map_fd(self, name: str) -> int:
        """A map of the object."""
        return self._loaded.maps[name].fd

    def map_id(self, name: str) -> int:
        """A map's kernel id."""
        return self._loaded.maps[name].id

    def _read(self, index: int) -> int:
        key = struct.pack("=I", index)
        value = syscall.map_lookup_elem(self.map_fd("numbers"), key, 8)
        return int.from_bytes(value, sys.byteorder)

    @property
    def runs(self) -> int:
        """How often any of the programs ran."""
        return self._read(_RUNS)

    @property
    def seen(self) -> int:
        """What a program showed last."""
        return self._read(_SEEN)

    def set(self, number: int) -> None:
        """The programs' setting."""
        key, value = struct.pack("=I", _SETTING), struct.pack("=Q", number)
        syscall.map_update_elem(self.map_fd("numbers"), key, value)


@contextmanager
def numbered(name: str, *defines: str) -> Iterator[Numbered]:
    """The programs of a source, loaded; fails when a file of this process is left open."""
    elf = clang.compiled(name, *defines)
    before = open_fds()
    loaded = elf_object.load(name, elf, LoadOptions())
    try:
        yield Numbered(loaded)
    finally:
        loaded.close()
    assert open_fds() <= before, "files are left open"
