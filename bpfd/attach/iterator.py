# SPDX-License-Identifier: Apache-2.0
"""iterator: a program that runs once for each task, map, socket, ... and writes text or
records (kernel 5.8, ae24345da54e).

The link only says over what; every reading of it is one run (`pieces`).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.place import opened_cgroup
from bpfd.attach.reference import opened_map
from bpfd.kernel import info, syscall
from bpfd.kernel.constants import AttachType, Cmd, LinkType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("iterator", {ProgType.TRACING}, "CAP_PERFMON")
METHOD = "iterator link"

MAX_BYTES = 64 << 20
MAX_CHUNK = 256 << 10
MAX_VAIN_READS = 1000
"""Readings on end that may give nothing: each looks at up to a million entries."""

_READ = 64 << 10
_HINTS = {
    "EINVAL": "this kind of iterator wants something else to walk over, or a map of another"
    " type than this one",
    "EACCES": "the program reads more of a key or value than the map has",
    "EBADF": "this kind of iterator wants a map: name it with map=",
    "E2BIG": "this kernel's iterators do not know that parameter",
}


def attach(program: Program, point: attach_pb2.Iterator) -> Attachment:
    """Raises NotFound, InvalidArgument, PermissionMissing, KernelError."""
    HOOK.check(program)
    if program.expected_attach_type not in (AttachType.TRACE_ITER, 0):
        raise errors.InvalidArgument(
            "program", f"{program.name} is a tracing program, but no iterator"
        )
    with ExitStack() as stack:
        where = _where(point, stack)
        try:
            link = syscall.iter_link(program.fd, where)
        except OSError as error:
            operation = f"attaching iterator {program.name}"
            raise refused(error, operation, HOOK.capability, _HINTS) from None
    return Attachment(HOOK, [link], METHOD)


def _where(point: attach_pb2.Iterator, stack: ExitStack) -> bytes:
    """union bpf_iter_link_info; nothing where every kind can do without."""
    if point.cgroup_order and point.WhichOneof("over") != "cgroup":
        raise errors.InvalidArgument("iterator.cgroup_order", "is for walking over a cgroup")
    match point.WhichOneof("over"):
        case "map":
            return struct.pack("=I", stack.enter_context(opened_map(point.map, "iterator.map")))
        case "cgroup":
            fd, _ = stack.enter_context(opened_cgroup(point.cgroup))
            # order 1 is the cgroup alone, which is what naming one means.
            return struct.pack("=IIQ", point.cgroup_order or 1, fd, 0)
        case "tid":
            _check_there(point.tid, "thread")
            return struct.pack("=III", point.tid, 0, 0)
        case "pid":
            _check_there(point.pid, "process")
            return struct.pack("=III", 0, point.pid, 0)
        case _:
            return b""


def _check_there(number: int, kind: str) -> None:
    """The kernel would walk over nothing."""
    if not os.path.isdir(f"/proc/{number}"):
        raise errors.NotFound(kind, str(number))


def opened(fds: list[int], name: str) -> int:
    """An fd for one run of the iterator behind a link of this daemon.

    Raises InvalidArgument for a link that is none, PermissionMissing, KernelError.
    """
    if not fds or info.link_info(fds[0]).type != LinkType.ITER:
        raise errors.InvalidArgument("link", f"{name} is no iterator: nothing can be read")
    try:
        return syscall.iter_create(fds[0])
    except OSError as error:
        raise refused(error, f"starting iterator {name}", HOOK.capability) from None


def opened_by_id(number: int) -> int:
    """The same for any link of the kernel. Raises NotFound too."""
    try:
        fd = syscall.fd_by_id(Cmd.LINK_GET_FD_BY_ID, number)
    except FileNotFoundError:
        raise errors.NotFound("link", f"id {number}") from None
    except OSError as error:
        raise refused(error, f"opening link {number}", "CAP_SYS_ADMIN") from None
    try:
        return opened([fd], f"link {number}")
    finally:
        os.close(fd)


def pieces(stream: int, limit: int = 0) -> Iterator[bytes]:
    """What one run writes; takes the fd over.

    Raises LimitExceeded after `limit` bytes (0: MAX_BYTES) and for a program that asks for
    the same entry for ever; KernelError for what the kernel refuses.
    """
    limit = limit or MAX_BYTES
    done = 0
    try:
        while piece := _piece(stream):
            if done + len(piece) > limit:
                if done < limit:
                    yield piece[: limit - done]
                raise errors.LimitExceeded(
                    "what is read of an iterator", limit, hint="bytes; ask for more, or filter"
                )
            done += len(piece)
            yield piece
    finally:
        os.close(stream)


def _piece(stream: int) -> bytes:
    """Some KiB; empty at the end."""
    parts: list[bytes] = []
    size = vain = 0
    while size < MAX_CHUNK:
        try:
            data = os.read(stream, _READ)
        except BlockingIOError:  # so many entries without output, or one that is asked again
            vain += 1
            if parts:
                break
            if vain == MAX_VAIN_READS:
                raise errors.LimitExceeded(
                    "the number of an iterator's readings without a byte",
                    MAX_VAIN_READS,
                    hint="does the program return 1, which asks for the same entry again?",
                ) from None
            time.sleep(0)
            continue
        except OSError as error:
            hints = {"E2BIG": "the program writes more than 32 KiB for one entry"}
            raise refused(error, "reading an iterator", HOOK.capability, hints) from None
        if not data:
            break
        parts.append(data)
        size += len(data)
    return b"".join(parts)
