# SPDX-License-Identifier: Apache-2.0
"""lsm_cgroup: a hook of the security modules, for one control group (kernel 6.0,
69fd337a975c).

Which hook was fixed by a BTF id when the program was loaded.
"""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import ENOTSUPP, AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("lsm_cgroup", {ProgType.LSM}, "CAP_SYS_ADMIN")


def attach(program: Program, point: attach_pb2.LsmCgroup) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised."""
    HOOK.check(program)
    if program.expected_attach_type not in (0, AttachType.LSM_CGROUP):
        raise errors.InvalidArgument(
            "program",
            f"{program.name} was loaded for the whole machine (section lsm); a program of a "
            "cgroup has the section lsm_cgroup",
        )
    order = attach_pb2.Order()
    try:
        return attach_to_cgroup(HOOK, program, AttachType.LSM_CGROUP, point.cgroup, order)
    except errors.KernelError as error:
        if error.errno != ENOTSUPP:
            raise
        raise errors.NotSupported(
            "LSM programs of cgroups", "6.0", "trampolines of this architecture"
        ) from None
