# SPDX-License-Identifier: Apache-2.0
"""Archives that the kernel unpacks as its first file system.

The format is "newc" (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html).
Same entries, same bytes: times are 0, owners root, inodes count up in the order of names.
Archives may be put behind each other; a later one adds to what is there.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class _Entry:
    mode: int
    data: bytes = b""


@dataclass
class Cpio:
    """An archive to be filled; paths are absolute, folders above a path come by themselves."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A folder; a later call for the same one sets its mode. "/" is the root itself."""
        self._put(path, _Entry(stat.S_IFDIR | mode))

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A file with its content."""
        self._put(path, _Entry(stat.S_IFREG | mode, data))

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._put(path, _Entry(stat.S_IFLNK | 0o777, target.encode()))

    def _put(self, path: str, entry: _Entry) -> None:
        name = path.strip("/") or "."
        if not path.startswith("/") or "//" in path or "\0" in path:
            raise ValueError(f"not an absolute path: {path!r}")
        above = name.rpartition("/")[0]
        if above and above not in self._entries:
            self.folder(f"/{above}")
        if above and not stat.S_ISDIR(self._entries[above].mode):
            raise ValueError(f"/{above} is not a folder, so {path} cannot be in it")
        self._entries[name] = entry

    def pack(self) -> bytes:
        """The archive, a multiple of 512 bytes."""
        packed = bytearray()
        # A folder's name sorts before those of what is in it.
        for number, (name, entry) in enumerate(sorted(self._entries.items()), 1):
            packed += _packed(name, entry, number)
        packed += _packed(TRAILER, _Entry(0), 0)
        return bytes(packed.ljust(-(-len(packed) // 512) * 512, b"\0"))


def _packed(name: str, entry: _Entry, inode: int) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in fields)
    return _padded(header + encoded) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
