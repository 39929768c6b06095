# SPDX-License-Identifier: Apache-2.0
"""Programs of every control group, of every hook."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator

from bpfd.attach import cgroup_points
from bpfd.attachments.links import Links, Where
from bpfd.kernel import cgroup, syscall
from bpfd.kernel.constants import LinkType
from bpfd.kernel.info import LinkInfo
from bpfd.v1 import links_pb2

_EFFECTIVE = 1  # BPF_F_QUERY_EFFECTIVE


def attachments(
    links: Links, types: Collection[int], *, effective: bool
) -> Iterator[links_pb2.Attachment]:
    """From the top down, by hook, in the order in which the programs of a hook run.

    `effective`: for each cgroup also those of cgroups above that run for it, and the
    position is that among all of them.
    """
    hooks = cgroup_points.attach_types(types)
    for path, inode in cgroup.tree() if hooks else ():
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            for hook in list(hooks):
                try:
                    own = syscall.query(fd, hook)
                    every = syscall.query(fd, hook, _EFFECTIVE) if effective else own
                except OSError as error:
                    if error.errno == errno.EINVAL:
                        hooks.remove(hook)  # this kernel does not know it
                    continue
                yield from _of_hook(links, (path, inode), hook, own, every)
        finally:
            os.close(fd)


def _of_hook(
    links: Links,
    place: tuple[str, int],
    hook: int,
    own: syscall.Query,
    every: syscall.Query,
) -> Iterator[links_pb2.Attachment]:
    path, inode = place
    flags: dict[int, list[int]] = {}
    for program_id, each in zip(own.program_ids, own.attach_flags, strict=True):
        flags.setdefault(program_id, []).append(each)
    for position, program_id in enumerate(every.program_ids, 1):
        message = links_pb2.Attachment(
            program_id=program_id,
            attach_type=hook,
            cgroup_id=inode,
            cgroup_path=path,
            position=position,
            revision=own.revision,
        )
        cgroup_points.fill(
            LinkInfo(LinkType.CGROUP, 0, program_id, hook, cgroup_id=inode), message.point
        )
        kind = message.point.WhichOneof("point")
        if kind is not None:
            getattr(message.point, kind).cgroup.path = path
        if not flags.get(program_id):  # a cgroup's own programs run before those from above
            message.inherited = True
        else:
            message.attach_flags = flags[program_id].pop(0)
            message.method = links_pb2.ATTACHMENT_METHOD_PROG_ATTACH
            links.match(message, Where(LinkType.CGROUP, program_id, hook, cgroup_inode=inode))
        yield message
