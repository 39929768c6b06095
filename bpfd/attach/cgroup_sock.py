# SPDX-License-Identifier: Apache-2.0
"""cgroup_sock: sockets of a control group as they are made, bound and closed.

Kernel 4.10 (61023658760032), post_bind 4.17 (aac3fc320d945), release 5.9 (f5836749c9c0).
"""

from __future__ import annotations

from bpfd.attach.attach_type import chosen
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("cgroup_sock", {ProgType.CGROUP_SOCK}, "CAP_NET_ADMIN")

TYPES: dict[int, AttachType] = {
    attach_pb2.CGROUP_SOCK_HOOK_CREATE: AttachType.CGROUP_INET_SOCK_CREATE,
    attach_pb2.CGROUP_SOCK_HOOK_RELEASE: AttachType.CGROUP_INET_SOCK_RELEASE,
    attach_pb2.CGROUP_SOCK_HOOK_POST_BIND4: AttachType.CGROUP_INET4_POST_BIND,
    attach_pb2.CGROUP_SOCK_HOOK_POST_BIND6: AttachType.CGROUP_INET6_POST_BIND,
}
"""By enum CgroupSockHook."""


def attach(program: Program, point: attach_pb2.CgroupSock) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised.

    A hook that is not given is the one that the program was loaded for.
    """
    HOOK.check(program)
    name = attach_pb2.CgroupSockHook.Name
    attach_type = chosen(program, point.hook, TYPES, name, "cgroup_sock.hook")
    return attach_to_cgroup(HOOK, program, attach_type, point.cgroup, point.order)
