# SPDX-License-Identifier: Apache-2.0
"""What sk_lookup and flow_dissector share: a link to a network namespace (kernel 5.8,
7f045a49fee0)."""

from __future__ import annotations

import errno
import os

from bpfd import errors
from bpfd.attach.attachment import Attachment, Hook, Program
from bpfd.attach.failure import refused
from bpfd.attach.owner import describe, link_of
from bpfd.attach.place import entered, netns_path
from bpfd.kernel import netns, syscall
from bpfd.kernel.constants import AttachType, LinkType
from bpfd.v1 import common_pb2

METHOD = "netns link"

_HINTS = {"EINVAL": "this kernel has no link for that hook"}


def attach_to_netns(
    hook: Hook, program: Program, attach_type: int, reference: common_pb2.Netns
) -> Attachment:
    """Attaches to a network namespace, the daemon's own where none is named.

    The link stays when the namespace goes, but sees nothing any more. Raises NotFound,
    InvalidArgument, AttachBusy, NotSupported, PermissionMissing, KernelError.
    """
    hook.check(program)
    path = "" if reference.WhichOneof("ref") is None else netns_path(reference)
    with entered(path) as inode:
        target = netns.open_namespace(netns.own().path)
    where = f"{hook.name} of network namespace {path or 'of the daemon'}"
    try:
        link = syscall.link_create(program.fd, target, attach_type)
    except OSError as error:
        if error.errno == errno.E2BIG and attach_type != AttachType.FLOW_DISSECTOR:
            raise errors.LimitExceeded(f"the number of programs on {where}", 64) from None
        if error.errno in (errno.EEXIST, errno.E2BIG):
            raise _busy(where, target, attach_type, inode) from None
        raise refused(error, f"attaching to {where}", hook.capability, _HINTS) from None
    finally:
        os.close(target)
    return Attachment(hook, [link], METHOD)


def _busy(where: str, target: int, attach_type: int, inode: int) -> errors.AttachBusy:
    try:
        programs, _ = syscall.prog_query(target, attach_type)
    except OSError:
        programs = []
    if not programs:
        # net/core/flow_dissector.c: either the first namespace has one, or others do.
        return errors.AttachBusy(where, "the program of another namespace")
    link = link_of(
        programs[0],
        lambda info: (
            (info.type, info.attach_type, info.netns_inode)
            == (LinkType.NETNS, attach_type, inode)
        ),
    )
    return errors.AttachBusy(where, describe(programs[0], link), programs[0], link)
