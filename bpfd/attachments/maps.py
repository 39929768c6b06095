# SPDX-License-Identifier: Apache-2.0
"""Programs that run because of a map: of sockets in sockmaps, and in struct_ops."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from bpfd.attach import sockmap
from bpfd.attachments.links import Links, Where
from bpfd.kernel import struct_ops, syscall
from bpfd.kernel.constants import AttachType, Cmd, LinkType, MapType
from bpfd.v1 import links_pb2

_SOCKMAP_HOOKS = (
    AttachType.SK_SKB_STREAM_PARSER,
    AttachType.SK_SKB_STREAM_VERDICT,
    AttachType.SK_MSG_VERDICT,
    AttachType.SK_SKB_VERDICT,
)


def attachments(links: Links, types: dict[int, int]) -> Iterator[links_pb2.Attachment]:
    """Programs of sockmaps and of struct_ops that were registered; `types` are by map id."""
    for number, kind in types.items():
        if kind in (MapType.SOCKMAP, MapType.SOCKHASH):
            yield from _of_sockmap(links, number)
        elif kind == MapType.STRUCT_OPS:
            yield from _of_struct_ops(links, number)


def _of_sockmap(links: Links, number: int) -> Iterator[links_pb2.Attachment]:
    with contextlib.suppress(OSError), _opened(number) as fd:
        for hook in _SOCKMAP_HOOKS:
            for program_id in syscall.query(fd, hook).program_ids:
                message = links_pb2.Attachment(
                    program_id=program_id,
                    method=links_pb2.ATTACHMENT_METHOD_PROG_ATTACH,
                    attach_type=hook,
                    map_id=number,
                    point=sockmap.point_of(number, hook),
                )
                place = Where(LinkType.SOCKMAP, program_id, hook, map_id=number)
                links.match(message, place)
                yield message


def _of_struct_ops(links: Links, number: int) -> Iterator[links_pb2.Attachment]:
    """An attachment for each function of the table, or one where they cannot be told."""
    try:
        with _opened(number) as fd:
            table = struct_ops.table(fd)
    except OSError:
        return
    if not (table.in_use or table.ready):
        return
    registration = links_pb2.Attachment(
        method=links_pb2.ATTACHMENT_METHOD_MAP_UPDATE, map_id=number
    )
    registration.point.struct_ops.map.id = number
    links.match(registration, Where(LinkType.STRUCT_OPS, 0, map_id=number))
    if table.ready and not registration.link_id:
        return  # filled, and no link registers it
    for member, program_id in table.programs or [("", 0)]:
        message = links_pb2.Attachment()
        message.CopyFrom(registration)
        message.member, message.program_id = member, program_id
        yield message


@contextlib.contextmanager
def _opened(number: int) -> Iterator[int]:
    fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, number)
    try:
        yield fd
    finally:
        os.close(fd)
