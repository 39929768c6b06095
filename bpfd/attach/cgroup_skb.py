# SPDX-License-Identifier: Apache-2.0
"""cgroup_skb: packets to and from the sockets of a control group."""

from __future__ import annotations

from bpfd import errors
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("cgroup_skb", {ProgType.CGROUP_SKB}, "CAP_NET_ADMIN")

TYPES: dict[int, AttachType] = {
    attach_pb2.CGROUP_SKB_DIRECTION_INGRESS: AttachType.CGROUP_INET_INGRESS,
    attach_pb2.CGROUP_SKB_DIRECTION_EGRESS: AttachType.CGROUP_INET_EGRESS,
}


def attach(program: Program, point: attach_pb2.CgroupSkb) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised.

    A direction that is not given is taken from a program loaded for egress; a program
    loaded for ingress looks like one loaded for nothing in particular.
    """
    HOOK.check(program)
    attach_type = TYPES.get(point.direction)
    if attach_type is None and program.expected_attach_type == AttachType.CGROUP_INET_EGRESS:
        attach_type = AttachType.CGROUP_INET_EGRESS
    if attach_type is None:
        raise errors.InvalidArgument("cgroup_skb.direction", "must be ingress or egress")
    return attach_to_cgroup(HOOK, program, attach_type, point.cgroup, point.order)
