# SPDX-License-Identifier: Apache-2.0
"""What all cgroup hooks share: a link to a cgroup v2 (kernel 5.7, af6eea57437a)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from bpfd import errors
from bpfd.attach import order as ordering
from bpfd.attach.attachment import Attachment, Hook, Program
from bpfd.attach.failure import refused
from bpfd.attach.owner import links
from bpfd.attach.place import opened_cgroup
from bpfd.kernel import cgroup, syscall
from bpfd.kernel.constants import LinkType, ProgType
from bpfd.v1 import attach_pb2, common_pb2

_HINTS = {
    "EPERM": "a program further up was attached so that none may be below it "
    "(`bpftool cgroup tree` shows it)",
    "EINVAL": "the program was loaded for another attach type, or this kernel has no BPF "
    "for cgroups",
    "ESTALE": "the programs there have changed since expected_revision was read",
    "E2BIG": "64 programs are attached there",
}

_LOADED_FOR_ONE = {
    ProgType.CGROUP_SOCK,
    ProgType.CGROUP_SOCK_ADDR,
    ProgType.CGROUP_SOCKOPT,
    ProgType.LSM,
}
"""Types whose programs fit one hook alone: another one would read a context that is none."""


def attach_to_cgroup(
    hook: Hook,
    program: Program,
    attach_type: int,
    reference: common_pb2.Cgroup,
    order: attach_pb2.Order,
) -> Attachment:
    """Attaches beside the programs that are there (BPF_F_ALLOW_MULTI is implied).

    The link stays when the cgroup is removed, but sees nothing any more. Raises NotFound,
    InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    hook.check(program)
    place = ordering.words(order)
    with opened_cgroup(reference) as (fd, path):
        if place.rest[0]:
            order = _by_link(order, fd, attach_type, f"{hook.name} of cgroup {path}")
            place = ordering.words(order)
        try:
            rest = place.rest if place else ()
            link = syscall.link_create(program.fd, fd, attach_type, place.flags, rest=rest)
        except OSError as error:
            if place and error.errno in (errno.EINVAL, errno.E2BIG):
                raise errors.NotSupported(
                    "an order of programs on a cgroup", since="6.17"
                ) from None
            operation = f"attaching to {hook.name} of cgroup {path}"
            raise refused(error, operation, hook.capability, _HINTS) from None
    return attachment(hook, [link], attach_type)


def attachment(hook: Hook, fds: list[int], attach_type: int) -> Attachment:
    """What a link to a cgroup is to the daemon; takes the fds over."""
    strict = hook.types & _LOADED_FOR_ONE
    return Attachment(hook, fds, "cgroup link", attach_type=attach_type if strict else 0)


def _by_link(
    order: attach_pb2.Order, fd: int, attach_type: int, point: str
) -> attach_pb2.Order:
    """The order with a link as its anchor: the kernel places links beside links alone."""
    anchor = order.WhichOneof("anchor")
    assert anchor is not None
    number: int = getattr(order, anchor)
    there = dict(_links(os.fstat(fd).st_ino, attach_type))
    if "link" in anchor:
        if number not in there:
            raise ordering.missing("link", number, point)
        return order
    found = next((link for link, program in there.items() if program == number), 0)
    if not found:
        raise ordering.missing("program with a link", number, point)
    result = attach_pb2.Order(expected_revision=order.expected_revision)
    setattr(result, anchor.replace("program", "link"), found)
    return result


def _links(inode: int, attach_type: int) -> Iterator[tuple[int, int]]:
    """(link id, program id) of the links on a cgroup."""
    for link in links():
        if (
            link.type == LinkType.CGROUP
            and link.attach_type == attach_type
            and cgroup.same(link.cgroup_id, inode)
        ):
            yield link.id, link.prog_id
