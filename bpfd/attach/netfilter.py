# SPDX-License-Identifier: Apache-2.0
"""netfilter: packets at a hook of the IP stack, where nftables' rules are too (kernel 6.4,
84601d6ee68a).

Two BPF programs never have the same priority at one hook, and the kernel does not exchange
the program of such a link. `update` runs the new program beside the old one meanwhile.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import sys

from bpfd import errors
from bpfd.attach.attachment import OVERLAP, Attachment, Hook, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.place import entered, netns_path
from bpfd.kernel import syscall
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2, links_pb2

HOOK = hook("netfilter", {ProgType.NETFILTER}, "CAP_NET_ADMIN")
METHOD = "netfilter link"

DEFRAGMENT = 1
"""BPF_F_NETFILTER_IP_DEFRAG."""

_log = logging.getLogger("bpfd.attach.netfilter")

_FAMILIES = {2: "ipv4", 10: "ipv6"}
_HOOKS = ("pre_routing", "local_in", "forward", "local_out", "post_routing")
_LOWEST, _HIGHEST = -(1 << 31), (1 << 31) - 1
"""NF_IP_PRI_FIRST and NF_IP_PRI_LAST, which the kernel keeps to itself."""
_DEFRAGMENTS = -400
"""NF_IP_PRI_CONNTRACK_DEFRAG: programs that want whole packets come behind it."""
_NEIGHBOURS = [sign * step for step in range(1, 9) for sign in (1, -1)]
"""Priorities beside that of a link, tried one after the other for the time of an update."""


def attach(program: Program, point: attach_pb2.Netfilter) -> Attachment:
    """Raises NotFound, AttachBusy, InvalidArgument, NotSupported, PermissionMissing,
    KernelError."""
    HOOK.check(program)
    _check(point)
    return NetfilterLink(HOOK, [_link(program, point, point.priority)], point)


class NetfilterLink(Attachment):
    """A link that is exchanged by another one of the same priority."""

    def __init__(self, hook: Hook, fds: list[int], point: attach_pb2.Netfilter | None) -> None:
        """`point` None: the network namespace is not known."""
        super().__init__(hook, fds, METHOD)
        self._point = point

    def update(self, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """The new program runs at a priority beside until it has the place of the old one; it
        stays there when somebody else is faster to take that."""
        self.hook.check(program)
        if self._runs(program):
            return links_pb2.UPDATE_METHOD_ATOMIC
        if self._point is None:
            raise errors.NotSupported(
                "replacing the program of a netfilter link from before the daemon's start",
                needs="detach it and attach the new program",
            )
        beside = self._beside(program, self._point)
        old = self.fds[0]
        self.fds = [beside]
        try:
            syscall.link_detach(old)
            self.fds = [_link(program, self._point, self._point.priority)]
            os.close(beside)
        except errors.BpfdError:
            _log.warning("priority %d is taken: it runs beside", self._point.priority)
        except OSError as error:
            self.fds = [old]
            os.close(beside)
            raise refused(error, "detaching the old program", HOOK.capability) from None
        os.close(old)
        return OVERLAP

    def _beside(self, program: Program, point: attach_pb2.Netfilter) -> int:
        lowest = _DEFRAGMENTS + 1 if point.defragment else _LOWEST + 1
        for step in _NEIGHBOURS:
            if not lowest <= point.priority + step < _HIGHEST:
                continue
            try:
                return _link(program, point, point.priority + step)
            except errors.AttachBusy:
                continue
        raise errors.AttachBusy(f"every priority near {point.priority}", "other programs")


def _check(point: attach_pb2.Netfilter) -> None:
    if point.protocol_family not in _FAMILIES:
        raise errors.InvalidArgument("netfilter.protocol_family", "must be ipv4 or ipv6")
    if point.hook >= len(_HOOKS):
        raise errors.InvalidArgument("netfilter.hook", f"is one of {', '.join(_HOOKS)}")
    if point.priority in (_LOWEST, _HIGHEST):
        raise errors.InvalidArgument(
            "netfilter.priority", "the lowest and the highest are the kernel's own"
        )
    if point.defragment and point.priority <= _DEFRAGMENTS:
        raise errors.InvalidArgument(
            "netfilter.priority", f"with defragment it must be above {_DEFRAGMENTS}"
        )


def _link(program: Program, point: attach_pb2.Netfilter, priority: int) -> int:
    path = netns_path(point.netns) if point.HasField("netns") else ""
    where = f"{_FAMILIES[point.protocol_family]} {_HOOKS[point.hook]}"
    flags = DEFRAGMENT if point.defragment else 0
    words = (
        struct.pack("=II", point.protocol_family, point.hook),
        struct.pack("=iI", priority, flags),
    )
    rest = tuple(int.from_bytes(each, sys.byteorder) for each in words)
    with entered(path):
        try:
            return syscall.link_create(program.fd, 0, AttachType.NETFILTER, rest=rest)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise errors.AttachBusy(
                    f"netfilter {where}, priority {priority}", "another BPF program"
                ) from None
            hints = {
                "EINVAL": "this kernel has no netfilter links (since 6.4, with"
                " CONFIG_NETFILTER_BPF_LINK)",
                "EAFNOSUPPORT": "this kernel has no BPF for that family",
                "ENOENT": "the kernel has nothing that defragments (nf_defrag_ipv4, _ipv6)",
                "E2BIG": "there are too many programs at the hook",
            }
            operation = f"attaching to netfilter {where}"
            raise refused(error, operation, HOOK.capability, hints) from None
