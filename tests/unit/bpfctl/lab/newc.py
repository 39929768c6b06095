# SPDX-License-Identifier: Apache-2.0
"""Reads archives of the format "newc", as the kernel does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    mode: int
    data: bytes
    inode: int


def read(archive: bytes) -> dict[str, Entry]:
    """Entries by name, in the order of the archive, up to its end mark."""
    found: dict[str, Entry] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, size, name_size = fields[0], fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        at = -(-(at + 110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = Entry(mode, archive[at : at + size], inode)
        at = -(-(at + size) // 4) * 4
