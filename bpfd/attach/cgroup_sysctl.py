# SPDX-License-Identifier: Apache-2.0
"""cgroup_sysctl: reads and writes of /proc/sys by a control group (kernel 5.2,
7b146cebe30c)."""

from __future__ import annotations

from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("cgroup_sysctl", {ProgType.CGROUP_SYSCTL}, "CAP_NET_ADMIN")


def attach(program: Program, point: attach_pb2.CgroupSysctl) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised."""
    return attach_to_cgroup(HOOK, program, AttachType.CGROUP_SYSCTL, point.cgroup, point.order)
