# SPDX-License-Identifier: Apache-2.0
"""freplace: a program in the place of a global function of another program (kernel 5.6,
be8704ff07d2; elsewhere than where it was loaded for since 5.10, 4a1e7c0c63e0).
"""

from __future__ import annotations

import errno

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.owner import describe
from bpfd.attach.reference import opened_program
from bpfd.kernel import info, syscall
from bpfd.kernel.constants import ENOTSUPP, ProgType
from bpfd.kernel.libbpf import function_type_id
from bpfd.v1 import attach_pb2

HOOK = hook("freplace", {ProgType.EXT}, "CAP_SYS_ADMIN")
METHOD = "tracing link"

_HINTS = {
    "EINVAL": "the two functions have different parameters, or the program is attached to what"
    " it was loaded for already: name target and function",
    "ENOENT": "what it was loaded for is gone: name target and function",
}


def attach(program: Program, point: attach_pb2.Freplace) -> Attachment:
    """Where no target is named, the function that the program was loaded for is replaced.

    Raises NotFound, AttachBusy, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    HOOK.check(program)
    named = point.target.WhichOneof("ref") is not None
    if named != bool(point.function):
        raise errors.InvalidArgument("freplace", "target and function go together")
    if not named:
        return _attached(program, _link(program, 0, 0, f"the target of {program.name}", 0))
    with opened_program(point.target, "freplace.target") as fd:
        details = info.prog_info(fd)
        number = function_type_id(details.btf_id, point.function) if details.btf_id else 0
        shown = f"function {point.function} of program {details.id}"
        if not number:
            raise errors.NotFound(
                "function",
                point.function,
                hint=f"program {details.id} has no such global function in its BTF",
            )
        return _attached(program, _link(program, fd, number, shown, details.id))


def _attached(program: Program, link: int) -> Attachment:
    def again(other: Program) -> Attachment:
        raise errors.NotSupported(
            "exchanging what stands in a function's place",
            needs=f"detach {program.name}, then attach {other.name}: the kernel takes one",
        )

    return Attachment(HOOK, [link], METHOD, again=again)


def _link(program: Program, target: int, type_id: int, shown: str, target_id: int) -> int:
    try:
        return syscall.link_create(program.fd, target, 0, rest=(type_id,) if type_id else ())
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EEXIST):
            owner = "another extension"
            if target_id:
                owner += f" ({shown} belongs to {describe(target_id)})"
            raise errors.AttachBusy(shown, owner) from None
        if error.errno == ENOTSUPP:
            raise errors.NotSupported(
                "freplace", "5.6 on x86-64, 6.0 on arm64", "trampolines of this architecture"
            ) from None
        raise refused(error, f"replacing {shown}", HOOK.capability, _HINTS) from None
