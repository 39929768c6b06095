# SPDX-License-Identifier: Apache-2.0
"""fentry, fexit, fmod_ret and fsession: a function of the kernel, or of a program, by a
trampoline (kernel 5.5, fec56f5890d9; programs: 5.5, 5b92a28aae4d; fsession: 7.0).

Which function was fixed by a BTF id when the program was loaded.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfd import errors
from bpfd.attach.attachment import Attachment, Hook, Program, hook
from bpfd.attach.failure import refused
from bpfd.kernel import info, syscall
from bpfd.kernel.constants import ENOTSUPP, AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("tracing", {ProgType.TRACING}, "CAP_PERFMON")

_KINDS: dict[int, str] = {
    AttachType.TRACE_FENTRY: "fentry",
    AttachType.TRACE_FEXIT: "fexit",
    AttachType.MODIFY_RETURN: "fmod_ret",
    AttachType.TRACE_FSESSION: "fsession",
}
_HINTS = {
    "EINVAL": "the function cannot be traced, or may not be given another return value",
    "EBUSY": "the program is on the function already, or it is replaced or patched, or"
    " an instruction of it is probed",
    "E2BIG": "38 programs are on the function",  # BPF_MAX_TRAMP_LINKS
}

_ONCE = "a program that is for a function of another program is attached once: load it again"


def attach(program: Program, point: attach_pb2.Tracing) -> Attachment:
    """Raises InvalidArgument, NotSupported, PermissionMissing, KernelError."""
    HOOK.check(program)
    kind = _KINDS.get(program.expected_attach_type)
    if kind is None:
        raise errors.InvalidArgument(
            "program",
            f"{program.name} is a tracing program, but none of {', '.join(_KINDS.values())}",
        )
    return attach_fixed(HOOK, program, point.cookie, kind, lambda other: attach(other, point))


def attach_fixed(
    hook: Hook,
    program: Program,
    cookie: int,
    kind: str,
    again: Callable[[Program], Attachment],
) -> Attachment:
    """Attaches where the program was loaded for; also used for lsm.

    `again` attaches another program, which `Attachment.check` has found to be for that place.
    """
    try:
        link = _open(program, cookie)
    except OSError as error:
        if error.errno == ENOTSUPP:
            raise errors.NotSupported(
                f"{kind} programs",
                "6.0 on arm64, 6.11 on riscv64, 5.5 on x86-64",
                "trampolines of this architecture; a kprobe sees the same function",
            ) from None
        operation = f"attaching {program.name} by {kind}"
        hints = {**_HINTS, "EINVAL": _ONCE} if _lost_its_target(program) else _HINTS
        raise refused(error, operation, hook.capability, hints) from None
    return Attachment(hook, [link], "tracing link", again=again)


def _lost_its_target(program: Program) -> bool:
    """Whether the program was loaded for another program and has been attached since: the link
    has the target then (bpf_tracing_prog_attach in kernel/bpf/syscall.c)."""
    told = info.prog_info(program.fd)
    return bool(told.attach_btf_id) and not told.attach_btf_obj_id


def _open(program: Program, cookie: int) -> int:
    if cookie:
        # struct { btf_id; cookie } behind the flags: kernel 6.0 (2fcc82411e74).
        return syscall.link_create(
            program.fd, 0, program.expected_attach_type, rest=(0, cookie)
        )
    return syscall.raw_tracepoint_open(None, program.fd)
