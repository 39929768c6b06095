# SPDX-License-Identifier: Apache-2.0
"""What uprobe_multi and usdt share: one program at many places of a binary.

One link where the kernel has it (6.6, 89ae89f53d20) and the program was loaded for it, else
one uprobe for each place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from bpfd import errors
from bpfd.attach.attachment import Hook, Program
from bpfd.attach.failure import refused
from bpfd.attach.perf_link import PERF_LINK, Event
from bpfd.attach.uprobe import HINTS, check_kernel
from bpfd.kernel import perf_event, syscall
from bpfd.kernel.constants import AttachType

MULTI_LINK = "uprobe multi link"

MAX_PLACES = 1 << 20
"""MAX_UPROBE_MULTI_CNT of kernel/trace/bpf_trace.c."""

MAX_EVENTS = 1024
"""Places of one attachment on kernels that take a file descriptor for each."""


@dataclass(frozen=True)
class Place:
    """An instruction of a binary."""

    offset: int
    """Bytes from the start of the file."""
    semaphore: int = 0
    """File offset of a counter to raise while attached; 0: none."""
    cookie: int = 0


@dataclass(frozen=True)
class Where:
    """A binary, and in which processes."""

    path: str
    shown: str
    pid: int
    """0: every process."""
    ret: bool = False


def link_places(
    hook: Hook, program: Program, where: Where, places: Sequence[Place], session: bool = False
) -> tuple[list[int], str]:
    """(fds, method) of a program at these places: all of them or, when it raises, none.

    Raises NotSupported, LimitExceeded, AttachBusy, PermissionMissing, KernelError.
    """
    if len(places) > MAX_PLACES:
        raise errors.LimitExceeded("the number of places of one link", MAX_PLACES)
    try:
        return [_multi(program, where, places, session)], MULTI_LINK
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.E2BIG, errno.EOPNOTSUPP):
            operation = f"attaching {program.name} to {where.shown}"
            raise refused(error, operation, hook.capability, HINTS) from None
    if session:
        raise errors.NotSupported(
            "programs that see entry and return of a function of a binary",
            since="6.13",
            needs='a program in a section SEC("uprobe.session/...")',
        )
    return _events(hook, program, where, places)


def _multi(program: Program, where: Where, places: Sequence[Place], session: bool) -> int:
    semaphores = [each.semaphore for each in places]
    cookies = [each.cookie for each in places]
    return syscall.uprobe_multi_link(
        program.fd,
        where.path,
        [each.offset for each in places],
        semaphores=semaphores if any(semaphores) else [],
        cookies=cookies if any(cookies) else [],
        attach_type=(
            AttachType.TRACE_UPROBE_SESSION if session else AttachType.TRACE_UPROBE_MULTI
        ),
        ret=where.ret,
        pid=where.pid,
    )


def _events(
    hook: Hook, program: Program, where: Where, places: Sequence[Place]
) -> tuple[list[int], str]:
    check_kernel(max(each.semaphore for each in places), f"{hook.name}.semaphore_offsets")
    if len(places) > MAX_EVENTS:
        raise errors.LimitExceeded(
            "the number of places of one link on this kernel",
            MAX_EVENTS,
            len(places),
            hint='since 6.6, with a program in SEC("uprobe.multi"), there is no such limit',
        )
    fds: list[int] = []
    method = PERF_LINK
    try:
        for place in places:
            fd, method = _event(hook, program, where, place)
            fds.append(fd)
    except BaseException:
        while fds:
            os.close(fds.pop())
        raise
    return fds, method


def _event(hook: Hook, program: Program, where: Where, place: Place) -> tuple[int, str]:
    kind = "uretprobe" if where.ret else "uprobe"
    event = Event(hook, f"{kind} {where.shown} at {place.offset:#x}", HINTS)
    fd = event.open(
        lambda: perf_event.open_uprobe(
            where.path,
            place.offset,
            ret=where.ret,
            pid=where.pid or -1,
            semaphore_offset=place.semaphore,
        )
    )
    return event.link(fd, program, place.cookie)
