# SPDX-License-Identifier: Apache-2.0
"""tc: packets behind the driver on the way in, and before it on the way out.

A tcx link where the kernel has it (6.6, e420bed02507), else a clsact filter, which is no
kernel object of ours: `bpfd.attach.clsact` says how that is undone after a crash.
"""

from __future__ import annotations

import errno

from bpfd import errors
from bpfd.attach import clsact
from bpfd.attach import order as ordering
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.failure import refused
from bpfd.attach.place import Place, located
from bpfd.kernel import syscall, tc
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("tc", {ProgType.SCHED_CLS}, "CAP_NET_ADMIN")

_NO_INTERFACE = 0x7FFFFFFF
_DIRECTIONS = {
    attach_pb2.TC_DIRECTION_INGRESS: (tc.INGRESS, AttachType.TCX_INGRESS),
    attach_pb2.TC_DIRECTION_EGRESS: (tc.EGRESS, AttachType.TCX_EGRESS),
}


def plan(program: Program, point: attach_pb2.Tc) -> clsact.ClsactJournal | None:
    """What `attach` is going to do where no kernel link keeps it; None: it makes a link.

    Touches nothing. Raises what `attach` raises for a bad request.
    """
    direction = _validated(program, point)
    if _wants_tcx(point):
        return None
    with located(point.interface) as place:
        return clsact.plan(HOOK, program, place, direction[0], point.handle, point.priority)


def attach(
    program: Program, point: attach_pb2.Tc, journal: clsact.ClsactJournal | None = None
) -> Attachment:
    """The method is "tcx" or "clsact"; for the latter `journal` is what `plan` gave.

    Raises NotFound, AttachBusy, InvalidArgument, NotSupported, PermissionMissing,
    KernelError.
    """
    direction, attach_type = _validated(program, point)
    if journal is None and _wants_tcx(point):
        return _attach_tcx(program, point, attach_type)
    with located(point.interface) as place:
        if journal is None:
            journal = clsact.plan(HOOK, program, place, direction, point.handle, point.priority)
        return clsact.attach(HOOK, program, place, journal)


def has_tcx() -> bool:
    """Whether the kernel has tcx: then it looks for the interface before it refuses."""
    try:
        syscall.prog_query(_NO_INTERFACE, AttachType.TCX_INGRESS)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def _validated(program: Program, point: attach_pb2.Tc) -> tuple[int, AttachType]:
    HOOK.check(program)
    named = point.handle or point.priority
    ordered = point.HasField("order")
    if point.method == attach_pb2.TC_METHOD_TCX and named:
        raise errors.InvalidArgument("tc", "handle and priority are for clsact, not for tcx")
    if ordered and (named or point.method == attach_pb2.TC_METHOD_CLSACT):
        raise errors.InvalidArgument("tc.order", "is for tcx; clsact goes by priority")
    if point.priority > 0xFFFF:
        raise errors.InvalidArgument("tc.priority", "must be at most 65535")
    if point.method not in attach_pb2.TcMethod.values():
        raise errors.NotSupported(f"tc method {point.method}", needs="tcx or clsact")
    if found := _DIRECTIONS.get(point.direction):
        return found
    for found in _DIRECTIONS.values():
        if program.expected_attach_type == found[1]:
            return found
    raise errors.InvalidArgument("tc.direction", "must be ingress or egress")


def _wants_tcx(point: attach_pb2.Tc) -> bool:
    if point.method == attach_pb2.TC_METHOD_CLSACT or point.handle or point.priority:
        return False
    if has_tcx():
        return True
    if point.method == attach_pb2.TC_METHOD_TCX or point.HasField("order"):
        raise errors.NotSupported("tcx", since="6.6", needs="the method clsact works here")
    return False


def _attach_tcx(program: Program, point: attach_pb2.Tc, attach_type: int) -> Attachment:
    place = ordering.words(point.order)
    with located(point.interface) as where:
        try:
            fd = syscall.link_create(
                program.fd, where.ifindex, attach_type, place.flags, rest=place.rest
            )
        except OSError as error:
            raise _explained(error, point, where) from None
    return Attachment(HOOK, [fd], "tcx")


def _explained(error: OSError, point: attach_pb2.Tc, place: Place) -> errors.BpfdError:
    if missing := ordering.anchor_missing(point.order, f"tcx of {place}", error):
        return missing
    if error.errno == errno.EEXIST:
        return errors.AttachBusy(f"tcx of {place}", "the same program")
    if error.errno == errno.ERANGE:
        return errors.LimitExceeded("the number of programs on one tcx hook", 64)
    hints = {"ESTALE": "the programs there have changed since expected_revision was read"}
    return refused(error, f"attaching to tcx of {place}", HOOK.capability, hints)
