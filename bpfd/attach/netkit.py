# SPDX-License-Identifier: Apache-2.0
"""netkit: packets that a netkit device, or its peer, is given to send (kernel 6.7,
35dfaad7188c).

Both hooks are on the primary device, from where the peer cannot be changed by its owner.
"""

from __future__ import annotations

import errno

from bpfd import errors
from bpfd.attach import order as ordering
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.place import Place, located
from bpfd.kernel import syscall
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("netkit", {ProgType.SCHED_CLS}, "CAP_NET_ADMIN")
METHOD = "netkit link"


def attach(program: Program, point: attach_pb2.Netkit) -> Attachment:
    """Raises NotFound, AttachBusy, InvalidArgument, LimitExceeded, NotSupported,
    PermissionMissing, KernelError."""
    HOOK.check(program)
    attach_type = AttachType.NETKIT_PEER if point.peer else AttachType.NETKIT_PRIMARY
    place = ordering.words(point.order)
    with located(point.interface) as where:
        try:
            fd = syscall.link_create(
                program.fd, where.ifindex, attach_type, place.flags, rest=place.rest
            )
        except OSError as error:
            raise _explained(error, point, where) from None
    return Attachment(HOOK, [fd], METHOD)


def _explained(error: OSError, point: attach_pb2.Netkit, place: Place) -> errors.BpfdError:
    shown = f"netkit {'peer of ' if point.peer else ''}{place}"
    if error.errno == errno.EINVAL and not _has_netkit(place):
        return errors.NotSupported("netkit", "6.7", "a kernel with CONFIG_NETKIT")
    if missing := ordering.anchor_missing(point.order, shown, error):
        return missing
    if error.errno == errno.EEXIST:
        return errors.AttachBusy(shown, "the same program")
    if error.errno == errno.ERANGE:
        return errors.LimitExceeded("the number of programs on one netkit hook", 64)
    hints = {
        "ENXIO": "the interface is no netkit device",
        "EACCES": "the interface is the peer: attach to the primary device, with peer",
        "ESTALE": "the programs there have changed since expected_revision was read",
    }
    return refused(error, f"attaching to {shown}", HOOK.capability, hints)


def _has_netkit(place: Place) -> bool:
    """Kernels with netkit look whether the interface is one before they refuse."""
    try:
        syscall.prog_query(place.ifindex, AttachType.NETKIT_PRIMARY)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True
