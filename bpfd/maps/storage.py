# SPDX-License-Identifier: Apache-2.0
"""Storage maps: values that hang on tasks, sockets, cgroups and files.

The kernel takes their keys as file descriptors (of processes: pidfds), so a client names the
thing and the daemon opens it, one at a time. The kernel does not iterate over such a map; what
can be listed on the machine is asked one by one instead.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bpfd.attach.failure import refused
from bpfd.attach.place import cgroup_path, opened_cgroup
from bpfd.attach.process_socket import opened_socket
from bpfd.errors import (
    BpfdError,
    InvalidArgument,
    KernelError,
    LimitExceeded,
    NotFound,
    NotSupported,
    PermissionMissing,
)
from bpfd.kernel import cgroup, map_io, processes, sockets
from bpfd.kernel.constants import MapType
from bpfd.maps.check import MAX_BYTES, OpenMap
from bpfd.v1 import attach_pb2, common_pb2, maps_pb2

BY_FD: dict[int, str] = {
    MapType.TASK_STORAGE: "pid",
    MapType.SK_STORAGE: "socket",
    MapType.CGRP_STORAGE: "cgroup",
    MapType.INODE_STORAGE: "path",
}
"""By type, the field of `KeyRef` that it takes; its keys are file descriptors."""

BY_ID: dict[int, str] = {
    MapType.CGROUP_STORAGE: "cgroup",
    MapType.PERCPU_CGROUP_STORAGE: "cgroup",
}
"""Types that take a cgroup by its id, and have keys of their own as well."""

MAX_REFS = 65536

_WORDS = {
    "pid": "processes",
    "socket": "sockets of processes",
    "cgroup": "cgroups",
    "path": "files",
}


def takes_refs(found: OpenMap, refs: int) -> bool:
    """Whether a request is one of `KeyRef`s. Raises InvalidArgument or LimitExceeded."""
    kind = found.shape.type
    if kind in BY_FD and not refs:
        words = _WORDS[BY_FD[kind]]
        raise InvalidArgument("keys", f"the keys of {found} are {words}: give key_refs")
    if refs > MAX_REFS:
        raise LimitExceeded("keys of one call", MAX_REFS, asked=refs)
    if refs and kind not in BY_FD and kind not in BY_ID:
        raise InvalidArgument("key_refs", f"{found} is a {found.type_name}: give keys")
    return refs > 0


@contextmanager
def opened_key(found: OpenMap, ref: maps_pb2.KeyRef) -> Iterator[bytes]:
    """The key as the kernel takes it, while the block runs.

    Raises NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    kind = BY_FD.get(found.shape.type) or BY_ID[found.shape.type]
    if ref.WhichOneof("ref") != kind:
        raise InvalidArgument("key_refs", f"the keys of {found} are {_WORDS[kind]}")
    if found.shape.type in BY_ID:
        yield _cgroup_id(found, ref.cgroup)
    elif kind == "pid":
        with _process(ref.pid) as fd:
            yield struct.pack("=i", fd)
    elif kind == "socket":
        with opened_socket(ref.socket) as fd:
            yield struct.pack("=i", fd)
    elif kind == "cgroup":
        with opened_cgroup(ref.cgroup) as (fd, _):
            yield struct.pack("=i", fd)
    else:
        with _file(ref.path) as fd:
            yield struct.pack("=i", fd)


@contextmanager
def _process(pid: int) -> Iterator[int]:
    try:
        fd = processes.open_task(pid)
    except ProcessLookupError:
        raise NotFound("process", str(pid)) from None
    except processes.NoThread:
        raise NotSupported(
            f"the storage of thread {pid}",
            "6.9",
            "it is not the first thread of its process, for which there are descriptors",
        ) from None
    except OSError as error:
        raise refused(error, f"opening process {pid}", "CAP_SYS_PTRACE") from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _file(path: str) -> Iterator[int]:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument("path", f"{path!r} is no absolute path")
    try:
        # O_PATH: nothing is opened but the inode, so a FIFO or a device does not notice.
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("file", path) from None
    except OSError as error:
        raise refused(error, f"opening {path}", "CAP_SYS_ADMIN") from None
    try:
        yield fd
    finally:
        os.close(fd)


def _cgroup_id(found: OpenMap, ref: common_pb2.Cgroup) -> bytes:
    if found.shape.key_size != 8:
        raise InvalidArgument(
            "key_refs",
            f"the keys of {found} are a cgroup's id and an attach type: give both as keys",
        )
    path = cgroup_path(ref)
    try:
        return struct.pack("=Q", cgroup.id_of(path))
    except FileNotFoundError:
        raise NotFound("cgroup", path) from None


def lookup(
    found: OpenMap, refs: list[maps_pb2.KeyRef], flags: int, *, delete: bool
) -> tuple[bytes, bytes]:
    """As `map_io.lookup`."""
    there, values = bytearray(), bytearray()
    for ref in refs:
        with opened_key(found, ref) as key:
            try:
                one, value = map_io.lookup(found.fd, found.shape, key, flags, delete=delete)
            except OSError as error:
                raise _error(found, "a lookup", error.errno or 0, ref) from None
        there += one
        values += value
        if len(values) > MAX_BYTES:
            raise LimitExceeded("bytes of one answer", MAX_BYTES, hint="ask for fewer keys")
    return bytes(there), bytes(values)


def update(found: OpenMap, refs: list[maps_pb2.KeyRef], values: bytes, flags: int) -> int:
    """Writes entries up to the first one that fails; gives their number."""
    width = found.shape.value_size
    for index, ref in enumerate(refs):
        value = values[index * width : (index + 1) * width]
        with opened_key(found, ref) as key:
            _, failed = map_io.update(found.fd, found.shape, key, value, flags)
        if failed:
            raise _error(found, "an update", failed, ref, index)
    return len(refs)


def delete(found: OpenMap, refs: list[maps_pb2.KeyRef]) -> tuple[int, int]:
    """(deleted, not there)."""
    deleted = missing = 0
    for ref in refs:
        with opened_key(found, ref) as key:
            one, none, failed = map_io.delete(found.fd, found.shape, key)
        if failed:
            raise _error(found, "a deletion", failed, ref, deleted)
        deleted += one
        missing += none
    return deleted, missing


def _error(
    found: OpenMap, operation: str, number: int, ref: maps_pb2.KeyRef, done: int = 0
) -> Exception:
    text = key_text(ref)
    if number == errno.EBADF:
        return NotSupported(
            f"{operation} of {found} for {text}",
            needs="a file system and a kernel that let BPF keep values there (CONFIG_BPF_LSM, "
            "with bpf among the security modules in use)",
        )
    if number == errno.ENOENT and found.shape.type in BY_ID:
        return NotFound(
            "entry", text, hint=f"{found} has one where a program that uses it is attached"
        )
    if number == errno.ENOENT:
        return NotFound("entry", text, hint=f"in {found}")
    if number == errno.EEXIST:
        return InvalidArgument("key_refs", f"{text} exists in {found}")
    return found.error(operation, number, done)


def key_text(ref: maps_pb2.KeyRef) -> str:
    """As `bpfctl` writes it."""
    match ref.WhichOneof("ref"):
        case "pid":
            return f"pid:{ref.pid}"
        case "socket":
            return f"socket:{ref.socket.pid}/{ref.socket.fd}"
        case "cgroup":
            return f"cgroup:{ref.cgroup.path or ref.cgroup.id}"
        case _:
            return f"path:{ref.path}"


@dataclass(frozen=True)
class Entry:
    """A value that was found, and whose it is."""

    ref: maps_pb2.KeyRef
    value: bytes
    name: str = ""


def check_listed(found: OpenMap) -> None:
    """Raises NotSupported for files, of which there is no list."""
    if found.shape.type == MapType.INODE_STORAGE:
        raise NotSupported(
            f"a dump of {found}, an {found.type_name}",
            needs="the kernel does not list which files have a value: ask for some, as in "
            "path:/etc/passwd",
        )


def entries(found: OpenMap) -> Iterator[Entry]:
    """Every thread, socket of a process or cgroup that has a value.

    Raises what kept the daemon from asking, where it could ask for none.
    """
    refused: BpfdError | None = None
    asked = False
    for ref, name in _things(found.shape.type):
        try:
            there, value = lookup(found, [ref], 0, delete=False)
        except (PermissionMissing, KernelError) as error:
            refused = error
            continue
        except (NotFound, NotSupported, InvalidArgument):
            continue  # gone meanwhile, or of a kind that has no storage
        asked = True
        if there == b"\1":
            yield Entry(ref, value, name)
    if refused is not None and not asked:
        raise refused


def _things(kind: int) -> Iterator[tuple[maps_pb2.KeyRef, str]]:
    if kind == MapType.TASK_STORAGE:
        for tid, comm in processes.tasks():
            yield maps_pb2.KeyRef(pid=tid), comm
    elif kind == MapType.SK_STORAGE:
        for pid, fd, comm in sockets.everywhere():
            place = attach_pb2.SocketOfProcess(pid=pid, fd=fd)
            yield maps_pb2.KeyRef(socket=place), comm
    elif kind == MapType.CGRP_STORAGE:
        for path, _ in cgroup.directories(cgroup.root()):
            yield maps_pb2.KeyRef(cgroup=common_pb2.Cgroup(path=path)), ""
