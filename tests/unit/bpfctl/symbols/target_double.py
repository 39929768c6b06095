# SPDX-License-Identifier: Apache-2.0
"""Files of a target that is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bpfctl.errors import NotFound
from bpfctl.symbols import elf
from bpfctl.symbols.process import Mapping, Process


@dataclass
class FilesDouble:
    """Paths of the target and what is there; counts what is read."""

    paths: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    fetched: int = 0
    size: int = 0
    """Said of each file in place of its own; 0: its own."""

    def stat(self, path: str) -> Any:
        if path not in self.paths:
            raise NotFound("file", path)
        found = self.paths[path].stat()
        return SimpleNamespace(
            size=self.size or found.st_size,
            inode=found.st_ino,
            build_id=bytes.fromhex(facts(self.paths[path]).build_id),
        )

    def chunks(self, path: str, offset: int = 0, size: int = 0) -> Iterator[bytes]:
        if path in self.texts:
            yield self.texts[path]
            return
        if path not in self.paths:
            raise NotFound("file", path)
        data = self.paths[path].read_bytes()[offset:]
        data = data[:size] if size else data
        self.fetched += len(data)
        yield data

    def read(self, path: str, offset: int = 0, size: int = 0) -> bytes:
        return b"".join(self.chunks(path, offset, size))


def facts(path: Path) -> elf.Facts:
    with open(path, "rb") as file:
        return elf.facts(file)


BASE = 0x7F0000000000


def process_of(path: Path, *, pid: int = 7, name: str = "/usr/lib/lib.so") -> Process:
    """A process that maps a binary as the kernel would: pages of each executable segment."""
    found = facts(path)
    mappings = []
    for each in found.segments:
        if each.executable:
            offset = each.offset & ~0xFFF
            start = BASE + (each.address & ~0xFFF)
            end = BASE + (each.address + each.size + 0xFFF & ~0xFFF)
            mappings.append(
                Mapping(
                    start,
                    end,
                    offset,
                    name,
                    path.stat().st_ino,
                    bytes.fromhex(found.build_id),
                )
            )
    return Process(pid, "test", tuple(mappings))


def map_file(process: Process, number: int = 0) -> str:
    """The path of a mapping in /proc."""
    each = process.mappings[number]
    return f"/proc/{process.pid}/map_files/{each.start:x}-{each.end:x}"
