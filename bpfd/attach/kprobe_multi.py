# SPDX-License-Identifier: Apache-2.0
"""kprobe_multi: many functions of the kernel with one link (kernel 5.18, 0dcac2725406).

The functions come by name, by a pattern that is resolved here, or by address.
"""

from __future__ import annotations

import errno

from bpfd import errors
from bpfd.attach import kernel_function
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import near, refused
from bpfd.kernel import kernel_symbols, syscall
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("kprobe_multi", {ProgType.KPROBE}, "CAP_PERFMON")

MAX_FUNCTIONS = 1 << 20
"""MAX_KPROBE_MULTI_CNT of kernel/trace/bpf_trace.c."""

_SESSION, _MULTI = AttachType.TRACE_KPROBE_SESSION, AttachType.TRACE_KPROBE_MULTI

_HINTS = {
    "EINVAL": 'the program must be in a section SEC("kprobe.multi/...") or, with session,'
    ' SEC("kprobe.session/...")',
    "EBUSY": "one of the functions cannot be traced",
}


def attach(program: Program, point: attach_pb2.KprobeMulti) -> Attachment:
    """Raises NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError."""
    HOOK.check(program)
    wanted = _SESSION if point.session else _MULTI
    if program.expected_attach_type not in (wanted, 0):
        raise errors.InvalidArgument("program", f"{program.name} was {_HINTS['EINVAL']}")
    if point.session and point.ret:
        raise errors.InvalidArgument("kprobe_multi.session", "sees entry and return by itself")
    names = _names(point)
    count = len(names) + len(point.addresses)
    if point.cookies and len(point.cookies) != count:
        raise errors.InvalidArgument(
            "kprobe_multi.cookies", f"{len(point.cookies)} for {count} functions"
        )
    shown = point.pattern or (names[0] if names else hex(point.addresses[0]))
    try:
        link = syscall.kprobe_multi_link(
            program.fd,
            names,
            list(point.addresses),
            list(point.cookies),
            attach_type=wanted,
            ret=point.ret,
        )
    except OSError as error:
        raise _failed(error, program, names, shown) from None
    return Attachment(
        HOOK, [link], "kprobe multi link", again=lambda other: attach(other, point)
    )


def _names(point: attach_pb2.KprobeMulti) -> list[str]:
    """The functions by name; none when they are given by address."""
    ways = [each for each in (point.functions, point.pattern, point.addresses) if each]
    if len(ways) != 1:
        raise errors.InvalidArgument(
            "kprobe_multi", "give one of functions, pattern and addresses"
        )
    for name in point.functions:
        kernel_function.check_name(name, "kprobe_multi.functions")
    names = list(point.functions)
    if point.pattern:
        found = kernel_symbols.functions(point.pattern)
        names = list(dict.fromkeys(name for name, _ in found))
        if not names:
            raise _nothing_matches(point.pattern)
    if len(names) > MAX_FUNCTIONS or len(point.addresses) > MAX_FUNCTIONS:
        raise errors.LimitExceeded("the number of functions of one link", MAX_FUNCTIONS)
    return names


def _nothing_matches(pattern: str) -> errors.NotFound:
    plain = pattern.replace("*", "").replace("?", "")
    close = near(plain, [name for name, _ in kernel_symbols.functions("")])
    return errors.NotFound("kernel function", pattern, close, "no function matches")


def _failed(error: OSError, program: Program, names: list[str], shown: str) -> errors.BpfdError:
    if error.errno in (errno.ESRCH, errno.ENOENT) and names:
        known = {name for name, _ in kernel_symbols.functions("")}
        lost = next((name for name in names if name not in known), "")
        if lost:
            return kernel_function.missing(lost)
    if error.errno == errno.EINVAL and program.expected_attach_type == _SESSION:
        return errors.NotSupported(
            "one program for entry and return of a function",
            since="6.10",
            needs='use SEC("kprobe.multi") and SEC("kretprobe.multi")',
        )
    if error.errno == errno.EOPNOTSUPP:
        return errors.NotSupported(
            "kprobes on many functions with one link", "5.18", "a kernel with CONFIG_FPROBE"
        )
    return refused(error, f"attaching {program.name} to {shown}", HOOK.capability, _HINTS)
