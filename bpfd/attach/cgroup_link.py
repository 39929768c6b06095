# SPDX-License-Identifier: Apache-2.0
"""What all cgroup hooks share: a link to a cgroup v2 (kernel 5.7, af6eea57437a)."""

from __future__ import annotations

import errno

from bpfd import errors
from bpfd.attach import order as ordering
from bpfd.attach.attachment import Attachment, Hook, Program
from bpfd.attach.failure import refused
from bpfd.attach.place import opened_cgroup
from bpfd.kernel import syscall
from bpfd.v1 import attach_pb2, common_pb2


def attach_to_cgroup(
    hook: Hook,
    program: Program,
    attach_type: int,
    cgroup: common_pb2.Cgroup,
    order: attach_pb2.Order,
) -> Attachment:
    """Attaches beside the programs that are there (BPF_F_ALLOW_MULTI is implied).

    The link stays when the cgroup is removed, but sees nothing any more. Raises NotFound,
    InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    hook.check(program)
    place = ordering.words(order)
    with opened_cgroup(cgroup) as (fd, path):
        try:
            rest = place.rest if place else ()
            link = syscall.link_create(program.fd, fd, attach_type, place.flags, rest=rest)
        except OSError as error:
            raise _explained(error, hook, path, order, bool(place)) from None
    return Attachment(hook, [link], "cgroup link")


_HINTS = {
    "EPERM": "a program further up was attached so that none may be below it "
    "(`bpftool cgroup tree` shows it)",
    "EINVAL": "the program was loaded for another attach type, or this kernel has no BPF "
    "for cgroups",
    "ESTALE": "the programs there have changed since expected_revision was read",
    "E2BIG": "64 programs are attached there",
}


def _explained(
    error: OSError, hook: Hook, path: str, order: attach_pb2.Order, ordered: bool
) -> errors.BpfdError:
    point = f"{hook.name} of cgroup {path}"
    if ordered and (missing := ordering.anchor_missing(order, point, error)):
        return missing
    if ordered and error.errno in (errno.EINVAL, errno.E2BIG):
        return errors.NotSupported("an order of programs on a cgroup", since="6.17")
    return refused(error, f"attaching to {point}", hook.capability, _HINTS)
