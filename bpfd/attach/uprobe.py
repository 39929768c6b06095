# SPDX-License-Identifier: Apache-2.0
"""uprobe and uretprobe: a function of a program or library in user space.

By the uprobe event source (kernel 4.17, 33ea4b24277b), which needs no tracefs.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.binary import opened_binary
from bpfd.attach.function import resolve
from bpfd.attach.perf_link import PERF_LINK, Event
from bpfd.kernel import perf_event
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("uprobe", {ProgType.KPROBE}, "CAP_PERFMON")

_MAX_SEMAPHORE = (1 << 32) - 1
HINTS = {
    "EINVAL": "the offset is not inside the file",
    "EIO": "the file system of the binary cannot be probed",
    "ENOTSUPP": "there is no instruction at the offset that can be probed",
    "EOPNOTSUPP": "there is no instruction at the offset that can be probed",
}


@dataclass(frozen=True)
class _Target:
    path: str
    """As the kernel opens it: through /proc/PID/root for one process."""
    offset: int
    shown: str


def attach(program: Program, point: attach_pb2.Uprobe) -> Attachment:
    """The method is "perf link", or "perf ioctl" before kernel 5.15.

    Raises NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    HOOK.check(program)
    target = _found(point)
    check_kernel(point.semaphore_offset, "uprobe.semaphore_offset")
    kind = "uretprobe" if point.ret else "uprobe"
    event = Event(HOOK, f"{kind} {target.shown}", HINTS)
    fd = event.open(
        lambda: perf_event.open_uprobe(
            target.path,
            target.offset,
            ret=point.ret,
            pid=point.pid or -1,
            semaphore_offset=point.semaphore_offset,
        )
    )
    link, method = event.link(fd, program, point.cookie)
    return Attachment(
        HOOK,
        [link],
        method,
        again=lambda other: attach(other, point),
        pinnable=method == PERF_LINK,
    )


def check_kernel(semaphore: int, field: str) -> None:
    """Raises NotSupported for what the event source lacks, InvalidArgument for a semaphore's
    offset that it cannot hold."""
    if "uprobe" not in perf_event.sources():
        raise errors.NotSupported("uprobes", "4.17", "a kernel with CONFIG_UPROBE_EVENTS")
    if semaphore > _MAX_SEMAPHORE:
        raise errors.InvalidArgument(field, "must be below 4 GiB")
    if semaphore and not perf_event.has_semaphores():
        raise errors.NotSupported("semaphores of uprobes", since="4.20")


def _found(point: attach_pb2.Uprobe) -> _Target:
    where = point.WhichOneof("where")
    if where is None:
        raise errors.InvalidArgument("uprobe", "function or file_offset must be given")
    with opened_binary(point.binary, point.pid, "uprobe") as found:
        if where == "function":
            offset = resolve(found.file, found.path, point.function, point.offset, point.ret)
        else:
            offset = point.file_offset + point.offset
            if not found.file.is_code(offset):
                raise errors.InvalidArgument(
                    "uprobe.file_offset", f"{found.path} has no code at {offset:#x}"
                )
    name = f"{point.function}+{point.offset}" if point.offset else point.function
    return _Target(found.real, offset, f"{found.path}:{name or hex(offset)}")
