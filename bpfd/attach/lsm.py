# SPDX-License-Identifier: Apache-2.0
"""lsm: a hook of the security modules (kernel 5.7, 9e4e01dfd325).

Which hook was fixed by a BTF id when the program was loaded.
"""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.tracing import attach_fixed
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("lsm", {ProgType.LSM}, "CAP_SYS_ADMIN")


def attach(program: Program, point: attach_pb2.Lsm) -> Attachment:
    """As `tracing.attach`."""
    HOOK.check(program)
    if program.expected_attach_type == AttachType.LSM_CGROUP:
        raise errors.InvalidArgument(
            "program", f"{program.name} was loaded for a cgroup: attach it to lsm_cgroup"
        )
    return attach_fixed(HOOK, program, point.cookie, "lsm", lambda other: attach(other, point))
