# SPDX-License-Identifier: Apache-2.0
"""tp_btf: a raw tracepoint with typed arguments (kernel 5.5, 9e15db66136a).

Which one was fixed by a BTF id when the program was loaded.
"""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.raw_tracepoint import open_link
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("tp_btf", {ProgType.TRACING}, "CAP_PERFMON")


def attach(program: Program, point: attach_pb2.TpBtf) -> Attachment:
    """Raises InvalidArgument, NotSupported, PermissionMissing, KernelError."""
    HOOK.check(program)
    if program.expected_attach_type != AttachType.TRACE_RAW_TP:
        raise errors.InvalidArgument(
            "program", f"{program.name} is a tracing program for something else than tp_btf"
        )
    link = open_link(HOOK, program, None, point.cookie)
    return Attachment(
        HOOK, [link], "raw tracepoint link", again=lambda other: attach(other, point)
    )
