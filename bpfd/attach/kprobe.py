# SPDX-License-Identifier: Apache-2.0
"""kprobe and kretprobe: an instruction or the end of a function of the kernel.

By the kprobe event source (kernel 4.17, e12f03d7031a), which needs no tracefs.
"""

from __future__ import annotations

import errno
import functools

from bpfd import errors
from bpfd.attach import kernel_function
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.perf_link import PERF_LINK, Event
from bpfd.kernel import perf_event, probe
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("kprobe", {ProgType.KPROBE}, "CAP_PERFMON")

_HINTS = {
    "EINVAL": "the kernel protects this code from probes",
    "EILSEQ": "the offset is in the middle of an instruction",
    "EADDRNOTAVAIL": "several functions have this name; give an address of /proc/kallsyms",
    "ENOTSUPP": "the instruction there cannot be probed",
    "EOPNOTSUPP": "the instruction there cannot be probed",
    "EBUSY": "the instruction there belongs to another probe",
}


def attach(program: Program, point: attach_pb2.Kprobe) -> Attachment:
    """The method is "perf link", or "perf ioctl" before kernel 5.15 (no cookie there).

    Raises NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    HOOK.check(program)
    check_kernel()
    where = point.WhichOneof("where")
    if where is None:
        raise errors.InvalidArgument("kprobe", "function or address must be given")
    if where == "function":
        kernel_function.check_name(point.function, "kprobe.function")
    if point.ret and point.offset:
        raise errors.InvalidArgument(
            "kprobe.offset", "a return probe goes at the function's start"
        )
    link, method = open_link(
        program,
        point.function if where == "function" else None,
        point.address + point.offset if where == "address" else point.offset,
        point.ret,
        point.cookie,
    )
    return Attachment(
        HOOK,
        [link],
        method,
        again=lambda other: attach(other, point),
        pinnable=method == PERF_LINK,
    )


@functools.cache
def _can_probe_entries() -> bool:
    """riscv64's kernels have a place of ftrace there, and kprobes keep off it."""
    try:
        probe.kprobe_at_entry()
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def check_kernel() -> None:
    """Raises NotSupported where the kernel has no kprobes."""
    if "kprobe" not in perf_event.sources():
        raise errors.NotSupported("kprobes", "4.17", "a kernel with CONFIG_KPROBE_EVENTS")


def open_link(
    program: Program, function: str | None, place: int, ret: bool, cookie: int
) -> tuple[int, str]:
    """(fd, method) of a program on a kernel function.

    `place` is an offset into `function`, or an address where that is None. Raises as
    `attach`.
    """
    shown = function if function is not None else hex(place)
    if function is not None and place:
        shown += f"+{place:#x}"
    event = Event(HOOK, f"{'kretprobe' if ret else 'kprobe'} {shown}", _HINTS)

    def opener() -> int:
        try:
            return perf_event.open_kprobe(function, place, ret=ret)
        except OSError as error:
            if error.errno == errno.ENOENT and function is not None:
                raise kernel_function.missing(function) from None
            if error.errno == errno.EINVAL and not _can_probe_entries():
                raise errors.NotSupported(
                    "kprobes where functions begin",
                    needs="a kernel with CONFIG_KPROBES_ON_FTRACE: ftrace has these places "
                    "here; an offset into the function may do, or fentry",
                ) from None
            raise

    return event.link(event.open(opener), program, cookie)
