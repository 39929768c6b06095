# SPDX-License-Identifier: Apache-2.0
"""raw_tracepoint: a tracepoint with its raw arguments (kernel 4.17, c4f6699dfcb8)."""

from __future__ import annotations

import contextlib
import errno

from bpfd import errors
from bpfd.attach.attachment import Attachment, Hook, Program, hook
from bpfd.attach.failure import near, refused
from bpfd.kernel import syscall, tracefs
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook(
    "raw_tracepoint", {ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE}, "CAP_PERFMON"
)

_HINTS = {
    "EINVAL": "the program reads more arguments than the tracepoint has, or writes more than it"
    " lets",
}


def attach(program: Program, point: attach_pb2.RawTracepoint) -> Attachment:
    """Raises NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError."""
    HOOK.check(program)
    name = point.name
    if not name or "\0" in name:
        raise errors.InvalidArgument("raw_tracepoint.name", f"{name!r} is not a name")
    if "/" in name:
        raise errors.InvalidArgument(
            "raw_tracepoint.name", f"goes without category: {name.rpartition('/')[2]!r}"
        )
    link = open_link(HOOK, program, name, point.cookie)
    return Attachment(
        HOOK, [link], "raw tracepoint link", again=lambda other: attach(other, point)
    )


def open_link(hook: Hook, program: Program, name: str | None, cookie: int) -> int:
    """The fd of a link; `name` None: the tracepoint was fixed when the program was loaded."""
    where = f"raw tracepoint {name}" if name is not None else "its tracepoint"
    try:
        return syscall.raw_tracepoint_open(name, program.fd, cookie)
    except OSError as error:
        if error.errno == errno.ENOENT and name is not None:
            raise _missing(name) from None
        # Kernels before the cookie (68ca5d4eebb8) refuse what stands behind the fd.
        if cookie and error.errno in (errno.EINVAL, errno.E2BIG):
            raise errors.NotSupported("cookies of raw tracepoints", since="6.10") from None
        if error.errno == errno.EEXIST:  # before 6.10 (d4dfc5700e86) a program is there once
            owner = f"program {program.id} ({program.name}) itself"
            raise errors.AttachBusy(where, owner, program.id) from None
        operation = f"attaching {program.name} to {where}"
        raise refused(error, operation, hook.capability, _HINTS) from None


def _missing(name: str) -> errors.NotFound:
    names: list[str] = []
    with contextlib.suppress(errors.BpfdError):  # no tracefs: no proposals
        names = ["sys_enter", "sys_exit", *tracefs.all_events()]
    hint = ""
    if name in names:
        hint = "it is a tracepoint of a system call, which has none of its own; use sys_enter"
    return errors.NotFound("raw tracepoint", name, near(name, names), hint)
