# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: open one, be in one for a while, find one by its inode."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703
"""ioctl of a namespace file, Linux 4.11 (e5ff5ce6e20e)."""

NAMED = ("/run/netns", "/var/run/netns")
"""Where `ip netns` keeps named namespaces."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """A network namespace and a path by which it was found."""

    inode: int
    path: str


def names() -> list[str]:
    """Named network namespaces, sorted."""
    found: set[str] = set()
    for folder in NAMED:
        try:
            found.update(os.listdir(folder))
        except OSError:
            continue
    return sorted(found)


def path_of_name(name: str) -> str:
    """The file of a named namespace. Raises FileNotFoundError."""
    for folder in NAMED:
        path = f"{folder}/{name}"
        if os.path.exists(path):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def open_namespace(path: str) -> int:
    """An fd of the network namespace behind a file.

    Raises OSError; EINVAL when the file is not a network namespace.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        kind = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        os.close(fd)
        raise OSError(errno.EINVAL, "not a network namespace", path)
    return fd


def own() -> Namespace:
    """The network namespace of the calling thread."""
    path = "/proc/thread-self/ns/net"
    return Namespace(os.stat(path).st_ino, path)


@contextmanager
def entered(path: str | None) -> Iterator[int]:
    """Runs the block in the namespace of a file; None stays where the thread is.

    Yields the namespace's inode. Only the calling thread moves, and it is back in its own
    namespace afterwards whatever happens. The block must not await. Raises OSError.
    """
    if path is None:
        yield own().inode
        return
    target = open_namespace(path)
    try:
        if os.fstat(target).st_ino == own().inode:
            yield own().inode  # needs no privilege
            return
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
            try:
                yield os.fstat(target).st_ino
            finally:
                _setns(home)
        finally:
            os.close(home)
    finally:
        os.close(target)


@contextmanager
def made() -> Iterator[None]:
    """Runs the block in a new network namespace, which ends when nobody holds it any more.

    As with `entered`, the calling thread alone moves, and comes back. Raises OSError.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def everywhere() -> Iterator[Namespace]:
    """Every network namespace that a file or a process leads to, each once.

    The caller's own comes first, then named ones, then those of processes.
    """
    seen: set[int] = set()
    candidates = ["/proc/thread-self/ns/net"]
    candidates += [f"{folder}/{name}" for folder in NAMED for name in names()]
    candidates += [f"/proc/{pid}/ns/net" for pid in os.listdir("/proc") if pid.isdigit()]
    for path in candidates:
        try:
            inode = os.stat(path).st_ino
        except OSError:
            continue
        if inode not in seen:
            seen.add(inode)
            yield Namespace(inode, path)


def find(inode: int, hint: str = "") -> Namespace | None:
    """The namespace with this inode, looked for at `hint` first; None: it is gone."""
    if hint:
        try:
            if os.stat(hint).st_ino == inode:
                return Namespace(inode, hint)
        except OSError:
            pass
    return next((each for each in everywhere() if each.inode == inode), None)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
