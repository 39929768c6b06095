# SPDX-License-Identifier: Apache-2.0
"""What this daemon knows of its own attachments, and the kernel does not tell."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from bpfd.attach.attachment import Journal
from bpfd.attach.clsact import ClsactJournal
from bpfd.attach.lwt import LwtJournal
from bpfd.attach.place import netns_path
from bpfd.attach.sockmap import SockmapJournal
from bpfd.errors import BpfdError
from bpfd.kernel import holders, netns
from bpfd.objects.registry import HeldLink, Registry
from bpfd.v1 import common_pb2, links_pb2

_OF_SOCKETS = ("socket_filter", "sk_reuseport")


def held_links(registry: Registry) -> list[HeldLink]:
    """The daemon's links as they are now."""
    with registry.lock:
        return list(registry.links.values())


def add_point(message: links_pb2.Attachment, held: HeldLink) -> None:
    """The point as it was asked for, which says more than the kernel does."""
    message.point.CopyFrom(held.point)
    if held.point.WhichOneof("point") == "netfilter":
        reference = held.point.netfilter.netns
        with contextlib.suppress(OSError, BpfdError):
            given = reference.WhichOneof("ref") is not None
            path = netns_path(reference) if given else netns.own().path
            message.netns_inode = os.stat(path).st_ino


def name_unlinked(
    held: Iterable[HeldLink], found: Iterable[links_pb2.Attachment]
) -> Iterator[links_pb2.Attachment]:
    """Names attachments of this daemon that are no kernel links; gives those that the kernel
    does not tell of."""
    candidates = [each for each in found if not each.link_id and not each.inherited]
    for link in held:
        if link.link_ids:
            continue
        fitting = (each for each in candidates if not each.link and _is(link, each))
        message = next(fitting, None)
        if message is not None:
            message.link, message.program_id = link.name, link.program_id
            continue
        kind = link.point.WhichOneof("point")
        method = (
            links_pb2.ATTACHMENT_METHOD_SOCKET
            if kind in _OF_SOCKETS
            else links_pb2.ATTACHMENT_METHOD_UNSPECIFIED
        )
        pid = os.getpid()
        yield links_pb2.Attachment(
            program_id=link.program_id,
            method=method,
            point=link.point,
            link=link.name,
            holders=[common_pb2.Holder(pid=pid, comm=holders.comm(pid))],
        )


def _is(link: HeldLink, message: links_pb2.Attachment) -> bool:
    """Whether it is the attachment of the link."""
    if link.point.WhichOneof("point") != message.point.WhichOneof("point"):
        return False
    journal: Journal | None = link.attachment.journal
    if isinstance(journal, ClsactJournal):
        place = (message.netns_inode, message.ifindex)
        return place == (journal.netns_inode, journal.ifindex) and (
            (message.filter.handle, message.filter.priority)
            == (journal.handle, journal.priority)
        )
    if isinstance(journal, SockmapJournal):
        return (message.map_id, message.attach_type) == (journal.map_id, journal.attach_type)
    if isinstance(journal, LwtJournal):
        return message.member.startswith(f"{journal.name}-")
    return message.program_id == link.program_id
