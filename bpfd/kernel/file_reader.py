# SPDX-License-Identifier: Apache-2.0
"""Status, content and folders of the files that clients may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.errors import InvalidArgument, KernelError
from bpfd.kernel import readable
from bpfd.kernel.build_id import build_id
from bpfd.kernel.host import read_fully

CHUNK = 1 << 20
MAX_READ = 1 << 30


@dataclass(frozen=True)
class Status:
    """What is known of a file."""

    path: str
    status: os.stat_result
    link_target: str = ""
    build_id: bytes = b""


@dataclass(frozen=True)
class Room:
    """A file system's size and what is free of it for this process; bytes."""

    total: int
    free: int
    read_only: bool


def room(path: str) -> Room:
    """The room where `path` stands. Raises KernelError."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        raise KernelError(f"statvfs of {path}", error.errno or 0) from None
    size = found.f_frsize
    read_only = bool(found.f_flag & os.ST_RDONLY)
    return Room(found.f_blocks * size, found.f_bavail * size, read_only)


def status(path: str, *, follow: bool) -> Status:
    """The status of a file; of an ELF file also the build id.

    Raises InvalidArgument, NotFound, PermissionMissing or KernelError.
    """
    with readable.opened(path, follow=follow) as place:
        mode = place.status.st_mode
        if stat.S_ISLNK(mode):
            _check_link(path)
            return Status(path, place.status, _target(place.fd))
        readable.check_visible(place, path)
        found = b""
        if stat.S_ISREG(mode) and not place.is_kernel:
            fd = readable.reopen(place)
            try:
                found = build_id(fd)
            finally:
                os.close(fd)
        return Status(path, place.status, "", found)


def _check_link(path: str) -> None:
    """A link may be looked at where its folder may be."""
    with readable.opened(os.path.dirname(path.rstrip("/")) or "/") as folder:
        readable.check_visible(folder, path)


def _target(fd: int) -> str:
    try:
        return os.readlink("", dir_fd=fd)
    except OSError:
        return ""


def read(path: str, offset: int, size: int) -> Iterator[bytes]:
    """At most `size` bytes (0: `MAX_READ`) from `offset` on, in pieces.

    Raises as `status` does.
    """
    if size > MAX_READ:
        raise InvalidArgument("size", f"at most {MAX_READ} bytes are read")
    if offset >= 1 << 63:
        raise InvalidArgument("offset", "is behind the end of every file")
    with readable.opened(path) as place:
        readable.check_readable(place, path)
        try:
            fd = readable.reopen(place)
        except OSError as error:
            raise KernelError(f"opening {path}", error.errno or 0) from None
    return _pieces(fd, path, offset, size or MAX_READ)


def _pieces(fd: int, path: str, offset: int, size: int) -> Iterator[bytes]:
    try:
        if offset:
            os.lseek(fd, offset, os.SEEK_SET)
        while size > 0 and (data := read_fully(fd, min(size, CHUNK))):
            size -= len(data)
            yield data
    except OSError as error:
        raise KernelError(f"reading {path}", error.errno or 0) from None
    finally:
        os.close(fd)


def folder(path: str) -> Iterator[Status]:
    """What is in a folder of /proc, /sys, tracefs or the system's; links are not followed.

    Raises as `status` does.
    """
    with readable.opened(path) as place:
        readable.check_visible(place, path)
        if not stat.S_ISDIR(place.status.st_mode):
            raise InvalidArgument("path", f"{path} is no folder")
        try:
            fd = os.open(
                f"/proc/self/fd/{place.fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
        except OSError as error:
            raise KernelError(f"opening {path}", error.errno or 0) from None
    return _entries(fd, path)


def _entries(fd: int, path: str) -> Iterator[Status]:
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                    link = os.readlink(entry.name, dir_fd=fd) if entry.is_symlink() else ""
                except OSError:
                    # It has gone meanwhile, or hides its target.
                    continue
                yield Status(f"{path.rstrip('/')}/{entry.name}", found, link)
    except OSError as error:
        raise KernelError(f"reading {path}", error.errno or 0) from None
    finally:
        os.close(fd)
