# SPDX-License-Identifier: Apache-2.0
"""cgroup_sockopt: setsockopt(2) and getsockopt(2) of a control group (kernel 5.3,
0d01da6afc54)."""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("cgroup_sockopt", {ProgType.CGROUP_SOCKOPT}, "CAP_NET_ADMIN")

GET, SET = AttachType.CGROUP_GETSOCKOPT, AttachType.CGROUP_SETSOCKOPT


def attach(program: Program, point: attach_pb2.CgroupSockopt) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised."""
    HOOK.check(program)
    wanted, other = (SET, GET) if point.set else (GET, SET)
    if program.expected_attach_type == other:
        loaded, asked = ("get", "set") if point.set else ("set", "get")
        raise errors.InvalidArgument(
            "cgroup_sockopt.set",
            f"{program.name} was loaded for {loaded}sockopt, not for {asked}sockopt",
        )
    return attach_to_cgroup(HOOK, program, wanted, point.cgroup, point.order)
