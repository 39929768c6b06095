# SPDX-License-Identifier: Apache-2.0
"""sock_ops: events in the life of the TCP connections of a control group."""

from __future__ import annotations

from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("sock_ops", {ProgType.SOCK_OPS}, "CAP_NET_ADMIN")


def attach(program: Program, point: attach_pb2.SockOps) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised."""
    return attach_to_cgroup(
        HOOK, program, AttachType.CGROUP_SOCK_OPS, point.cgroup, point.order
    )
