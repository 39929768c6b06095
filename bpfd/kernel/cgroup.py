# SPDX-License-Identifier: Apache-2.0
"""Control groups of version 2 by path or id."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator

from bpfd.kernel import mounts

_ID_MASK = (1 << 64) - 1 if sys.maxsize > 1 << 32 else (1 << 32) - 1
"""A directory's inode number is the cgroup's id; 32-bit kernels show its low half."""


_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


class _Handle(ctypes.Structure):
    """struct file_handle of name_to_handle_at(2)."""

    _fields_ = (("bytes", ctypes.c_uint32), ("type", ctypes.c_int), ("id", ctypes.c_uint8 * 8))


class NotVersion2(Exception):
    """The directory is not in a cgroup2 file system; the argument is the cgroup2 mount."""


def root() -> str:
    """Where cgroup2 is mounted. Raises FileNotFoundError when it is nowhere."""
    path = mounts.find("cgroup2")
    if not path:
        raise FileNotFoundError(errno.ENOENT, "no cgroup2 file system is mounted")
    return path


def root_or_none() -> str | None:
    """Where cgroup2 is mounted; None: nowhere."""
    try:
        return root()
    except FileNotFoundError:
        return None


def absolute(path: str) -> str:
    """A path relative to the cgroup2 mount made absolute; an absolute one unchanged."""
    return path if path.startswith("/") else os.path.normpath(os.path.join(root(), path))


def open_path(path: str) -> int:
    """An fd of the cgroup's directory. Raises OSError or NotVersion2."""
    top = root()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tops = [each.path for each in mounts.mounts() if each.type == "cgroup2"]
        device = os.fstat(fd).st_dev
        if not any(os.stat(each).st_dev == device for each in tops):
            raise NotVersion2(top)
    except BaseException:
        os.close(fd)
        raise
    return fd


def path_of_id(cgroup_id: int) -> str:
    """The directory of a cgroup id. Raises FileNotFoundError."""
    wanted = cgroup_id & _ID_MASK
    for path, inode in directories(root()):
        if inode == wanted:
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(cgroup_id))


def inode_of_id(cgroup_id: int) -> int:
    """The inode number of a cgroup's directory."""
    return cgroup_id & _ID_MASK


def tree() -> Iterator[tuple[str, int]]:
    """(directory, inode) of every cgroup: each before those in it, these sorted.

    Nothing where no cgroup2 is mounted; what is removed meanwhile is left out.
    """
    top = root_or_none()
    pending = [top] if top else []
    while pending:
        path = pending.pop()
        try:
            inode = os.stat(path).st_ino
        except OSError:
            continue
        yield path, inode
        pending += [f"{path}/{name}" for name in reversed(children(path))]


def same(cgroup_id: int, inode: int) -> bool:
    """Whether a directory's inode number is that of the cgroup with this id."""
    return cgroup_id & _ID_MASK == inode & _ID_MASK


def children(path: str) -> list[str]:
    """Names of the cgroups directly below a directory; none when it cannot be read."""
    try:
        with os.scandir(path) as entries:
            return sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    except OSError:
        return []


def id_of(path: str) -> int:
    """The id of the cgroup with this directory, all 64 bits of it.

    The file handle of a directory of cgroup2 is its id (kernfs_encode_fh() of fs/kernfs).
    Raises OSError.
    """
    handle = _Handle(bytes=8)
    mount = ctypes.c_int()
    arguments = (os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0)
    if _libc.name_to_handle_at(_AT_FDCWD, *arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int.from_bytes(bytes(handle.id), sys.byteorder)


def directories(top: str) -> Iterator[tuple[str, int]]:
    """(path, inode number) of a cgroup and of all below it."""
    yield top, os.stat(top).st_ino
    pending = [top]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        yield entry.path, entry.inode()
                        pending.append(entry.path)
        except OSError:
            continue  # removed meanwhile
