# SPDX-License-Identifier: Apache-2.0
"""cgroup_sock_addr: addresses that the sockets of a control group bind, connect, send to
and are told of.

Kernel 4.17 (4fbac77d2d09), sendmsg 4.18 (1cedee13d25a), recvmsg 5.2 (983695fa6765),
getpeername and getsockname 5.8 (1b66d253610c), Unix sockets 6.7 (859051dd165e).
"""

from __future__ import annotations

from bpfd.attach.attach_type import chosen
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.cgroup_link import attach_to_cgroup
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("cgroup_sock_addr", {ProgType.CGROUP_SOCK_ADDR}, "CAP_NET_ADMIN")

TYPES: dict[int, AttachType] = {
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_BIND4: AttachType.CGROUP_INET4_BIND,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_BIND6: AttachType.CGROUP_INET6_BIND,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_CONNECT4: AttachType.CGROUP_INET4_CONNECT,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_CONNECT6: AttachType.CGROUP_INET6_CONNECT,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_CONNECT_UNIX: AttachType.CGROUP_UNIX_CONNECT,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_SENDMSG4: AttachType.CGROUP_UDP4_SENDMSG,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_SENDMSG6: AttachType.CGROUP_UDP6_SENDMSG,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_SENDMSG_UNIX: AttachType.CGROUP_UNIX_SENDMSG,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_RECVMSG4: AttachType.CGROUP_UDP4_RECVMSG,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_RECVMSG6: AttachType.CGROUP_UDP6_RECVMSG,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_RECVMSG_UNIX: AttachType.CGROUP_UNIX_RECVMSG,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_GETPEERNAME4: AttachType.CGROUP_INET4_GETPEERNAME,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_GETPEERNAME6: AttachType.CGROUP_INET6_GETPEERNAME,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_GETPEERNAME_UNIX: AttachType.CGROUP_UNIX_GETPEERNAME,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_GETSOCKNAME4: AttachType.CGROUP_INET4_GETSOCKNAME,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_GETSOCKNAME6: AttachType.CGROUP_INET6_GETSOCKNAME,
    attach_pb2.CGROUP_SOCK_ADDR_HOOK_GETSOCKNAME_UNIX: AttachType.CGROUP_UNIX_GETSOCKNAME,
}
"""By enum CgroupSockAddrHook."""


def attach(program: Program, point: attach_pb2.CgroupSockAddr) -> Attachment:
    """Beside the programs that are there; see `attach_to_cgroup` for what is raised.

    A hook that is not given is the one that the program was loaded for.
    """
    HOOK.check(program)
    name = attach_pb2.CgroupSockAddrHook.Name
    attach_type = chosen(program, point.hook, TYPES, name, "cgroup_sock_addr.hook")
    return attach_to_cgroup(HOOK, program, attach_type, point.cgroup, point.order)
