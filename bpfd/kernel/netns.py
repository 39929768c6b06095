# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: open one, be in one for a while, find one by its inode."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from bpfd.kernel import mounts

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


def everywhere(more: Mapping[int, str] | None = None) -> Iterator[Namespace]:
    """Every network namespace that a file or a process leads to, each once.

    The caller's own comes first, then named ones, other bind mounts, those of processes,
    and `more`: paths by inode.
    """
    seen: set[int] = set()
    for inode, path in chain(_places(), (more or {}).items()):
        if inode not in seen:
            seen.add(inode)
            yield Namespace(inode, path)


def processes() -> dict[int, int]:
    """The lowest pid in each network namespace, by inode."""
    found: dict[int, int] = {}
    for pid in sorted(int(each) for each in os.listdir("/proc") if each.isdigit()):
        if inode := _inode(f"/proc/{pid}/ns/net"):
            found.setdefault(inode, pid)
    return found


def _places() -> Iterator[tuple[int, str]]:
    """Inodes of network namespaces with paths, some of them again and again."""
    paths = ["/proc/thread-self/ns/net"]
    paths += [f"{folder}/{name}" for folder in NAMED for name in names()]
    paths += [
        each.path
        for each in mounts.everything()
        if each.type == "nsfs" and each.root.startswith("net:[")
    ]
    paths += [f"/proc/{pid}/ns/net" for pid in os.listdir("/proc") if pid.isdigit()]
    for path in paths:
        if inode := _inode(path):
            yield inode, path


def _inode(path: str) -> int:
    """0: there is no namespace, or it is hidden."""
    try:
        found = os.stat(path)
        nsfs = os.stat("/proc/self/ns/net").st_dev  # a name may be left of what was unmounted
    except OSError:
        return 0
    return found.st_ino if found.st_dev == nsfs else 0


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
