# SPDX-License-Identifier: Apache-2.0
"""uprobe and uretprobe: a function of a program or library in user space.

By the uprobe event source (kernel 4.17, 33ea4b24277b), which needs no tracefs.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import near, refused
from bpfd.attach.function import resolve
from bpfd.attach.perf_link import PERF_LINK, Event
from bpfd.kernel import binaries, perf_event
from bpfd.kernel.constants import ProgType
from bpfd.kernel.symbols import BadElf, ElfFile
from bpfd.v1 import attach_pb2

HOOK = hook("uprobe", {ProgType.KPROBE}, "CAP_PERFMON")

_MAX_SEMAPHORE = (1 << 32) - 1
_HINTS = {
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
    _check_kernel(point)
    kind = "uretprobe" if point.ret else "uprobe"
    event = Event(HOOK, f"{kind} {target.shown}", _HINTS)
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


def _check_kernel(point: attach_pb2.Uprobe) -> None:
    if "uprobe" not in perf_event.sources():
        raise errors.NotSupported("uprobes", "4.17", "a kernel with CONFIG_UPROBE_EVENTS")
    if point.semaphore_offset > _MAX_SEMAPHORE:
        raise errors.InvalidArgument("uprobe.semaphore_offset", "must be below 4 GiB")
    if point.semaphore_offset and not perf_event.has_semaphores():
        raise errors.NotSupported("semaphores of uprobes", since="4.20")


def _found(point: attach_pb2.Uprobe) -> _Target:
    where = point.WhichOneof("where")
    if where is None:
        raise errors.InvalidArgument("uprobe", "function or file_offset must be given")
    if point.pid and not os.path.isdir(f"/proc/{point.pid}"):
        raise errors.NotFound("process", str(point.pid))
    root = f"/proc/{point.pid}/root" if point.pid else ""
    path = _binary(point.binary, point.pid, root)
    try:
        real = binaries.inside(root, path)
        with ElfFile(real) as file:
            if where == "function":
                offset = resolve(file, path, point.function, point.offset, point.ret)
            else:
                offset = point.file_offset + point.offset
                if not file.is_code(offset):
                    raise errors.InvalidArgument(
                        "uprobe.file_offset", f"{path} has no code at {offset:#x}"
                    )
    except BadElf as error:
        raise errors.InvalidArgument("uprobe.binary", f"{path} {error}") from None
    except OSError as error:
        raise _unreadable(error, path, root) from None
    name = f"{point.function}+{point.offset}" if point.offset else point.function
    shown = f"{path}:{name or hex(offset)}"
    return _Target(real, offset, shown)


def _binary(binary: str, pid: int, root: str) -> str:
    """The absolute path, as seen below `root`."""
    if not binary or "\0" in binary:
        raise errors.InvalidArgument("uprobe.binary", "is empty or has a zero byte")
    if binary.startswith("/"):
        return binary
    if "/" in binary:
        raise errors.InvalidArgument(
            "uprobe.binary", "must be an absolute path on the target, or a bare name"
        )
    path = ""
    if pid:
        try:
            path = binaries.mapped(pid, binary)
        except OSError as error:
            raise refused(error, f"reading /proc/{pid}/maps", "CAP_SYS_PTRACE") from None
    if path or (path := binaries.find(binary, root)):
        return path
    names = binaries.names_like(binary, root)
    folders = binaries.folders(binary, root)
    hint = "searched in " + ", ".join(folders[:8])
    raise errors.NotFound("binary", binary, near(binary, names), hint)


def _unreadable(error: OSError, path: str, root: str) -> errors.BpfdError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        folder, _, name = path.rpartition("/")
        try:
            names = os.listdir(f"{root}{folder}" or "/")
        except OSError:
            names = []
        found = [f"{folder}/{each}" for each in near(name, names)]
        hint = "" if names else f"{folder or '/'} cannot be read either"
        return errors.NotFound("binary", path, found, hint)
    if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
        return errors.InvalidArgument("uprobe.binary", f"{path} is no file")
    return refused(error, f"reading {path}", "CAP_SYS_PTRACE" if root else "CAP_SYS_ADMIN")
