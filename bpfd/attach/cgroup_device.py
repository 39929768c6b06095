# SPDX-License-Identifier: Apache-2.0
"""cgroup_device: device files that a control group opens and makes (kernel 4.15,
ebc614f68736)."""

from __future__ import annotations

from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("cgroup_device", {ProgType.CGROUP_DEVICE}, "CAP_NET_ADMIN")


def attach(program: Program, point: attach_pb2.CgroupDevice) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised."""
    return attach_to_cgroup(HOOK, program, AttachType.CGROUP_DEVICE, point.cgroup, point.order)
