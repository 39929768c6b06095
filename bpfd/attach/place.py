# SPDX-License-Identifier: Apache-2.0
"""Interfaces and cgroups of a request, found, with errors that help to find them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bpfd import errors
from bpfd.attach.failure import near, refused
from bpfd.kernel import cgroup, interface, netns
from bpfd.v1 import common_pb2


@dataclass(frozen=True)
class Place:
    """An interface that was found."""

    ifindex: int
    name: str
    netns_path: str
    """File of its network namespace; "": the daemon's own."""
    netns_inode: int

    def __str__(self) -> str:
        where = f" in {self.netns_path}" if self.netns_path else ""
        return f"interface {self.name}{where}"


def netns_path(reference: common_pb2.Netns) -> str:
    """The file of a network namespace. Raises NotFound and InvalidArgument."""
    match reference.WhichOneof("ref"):
        case "name":
            name = reference.name
            if not name or "/" in name or name in (".", ".."):
                raise errors.InvalidArgument("netns.name", f"{name!r} is not a name")
            try:
                return netns.path_of_name(name)
            except FileNotFoundError:
                names = netns.names()
                hint = "named ones: " + ", ".join(names[:10]) if names else "there are none"
                raise errors.NotFound(
                    "network namespace", name, near(name, names), hint
                ) from None
        case "path":
            if not reference.path.startswith("/"):
                raise errors.InvalidArgument("netns.path", "must be absolute")
            return reference.path
        case "pid":
            return f"/proc/{reference.pid}/ns/net"
        case _:
            raise errors.InvalidArgument("netns", "name, path or pid must be given")


@contextmanager
def located(reference: common_pb2.Interface) -> Iterator[Place]:
    """Runs the block in the interface's network namespace.

    The block must not await: the calling thread is in another namespace meanwhile. Raises
    NotFound, InvalidArgument, PermissionMissing.
    """
    if reference.WhichOneof("ref") is None:
        raise errors.InvalidArgument("interface", "name or ifindex must be given")
    path = netns_path(reference.netns) if reference.HasField("netns") else ""
    with entered(path) as inode:
        ifindex, name = _index_and_name(reference, path)
        yield Place(ifindex, name, path, inode)


@contextmanager
def entered(path: str) -> Iterator[int]:
    """`netns.entered` with the daemon's errors; "" stays. Yields the namespace's inode."""
    manager = netns.entered(path or None)
    try:
        inode = manager.__enter__()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.ENOTDIR):
            raise errors.NotFound("network namespace", path) from None
        if error.errno == errno.EINVAL:
            raise errors.InvalidArgument(
                "netns", f"{path} is not a network namespace"
            ) from None
        raise refused(error, f"entering network namespace {path}", "CAP_SYS_ADMIN") from None
    try:
        yield inode
    finally:
        manager.__exit__(None, None, None)


def _index_and_name(reference: common_pb2.Interface, path: str) -> tuple[int, str]:
    try:
        if reference.WhichOneof("ref") == "name":
            return interface.index_of(reference.name), reference.name
        return reference.ifindex, interface.name_of(reference.ifindex)
    except (OSError, ValueError):
        pass
    names = sorted(interface.names())
    wanted = reference.name or str(reference.ifindex)
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    hint = f"network namespace {path or 'of the daemon'} has {shown}"
    raise errors.NotFound("interface", wanted, near(reference.name, names), hint)


@contextmanager
def opened_cgroup(reference: common_pb2.Cgroup) -> Iterator[tuple[int, str]]:
    """(fd, path) of a cgroup's directory while the block runs.

    Raises NotFound, NotSupported, InvalidArgument, PermissionMissing.
    """
    path = cgroup_path(reference)
    try:
        fd = cgroup.open_path(path)
    except cgroup.NotVersion2 as error:
        raise errors.InvalidArgument(
            "cgroup.path",
            f"{path} is not in the cgroup2 hierarchy, where BPF programs attach; "
            f"that is mounted at {error}",
        ) from None
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            raise errors.InvalidArgument("cgroup.path", f"{path} is not a directory") from None
        if error.errno != errno.ENOENT:
            raise refused(error, f"opening cgroup {path}", "CAP_SYS_ADMIN") from None
        raise _no_cgroup(path) from None
    try:
        yield fd, path
    finally:
        os.close(fd)


def cgroup_path(reference: common_pb2.Cgroup) -> str:
    """The directory of a cgroup reference, not checked to exist when given as a path."""
    try:
        cgroup.root()
    except FileNotFoundError:
        raise errors.NotSupported(
            "cgroup hooks", needs="mount cgroup2: mount -t cgroup2 none /sys/fs/cgroup"
        ) from None
    match reference.WhichOneof("ref"):
        case "path":
            if not reference.path or "\0" in reference.path:
                raise errors.InvalidArgument("cgroup.path", "is empty or has a zero byte")
            return cgroup.absolute(reference.path)
        case "id":
            try:
                return cgroup.path_of_id(reference.id)
            except FileNotFoundError:
                raise errors.NotFound(
                    "cgroup", str(reference.id), hint="no cgroup has this id"
                ) from None
        case _:
            raise errors.InvalidArgument("cgroup", "path or id must be given")


def _no_cgroup(path: str) -> errors.NotFound:
    parent, _, name = path.rstrip("/").rpartition("/")
    names = cgroup.children(parent or "/")
    hint = f"cgroup2 is mounted at {cgroup.root()}"
    return errors.NotFound(
        "cgroup", path, [f"{parent}/{each}" for each in near(name, names)], hint
    )
