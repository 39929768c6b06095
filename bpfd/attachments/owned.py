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


def link_names(held: Iterable[HeldLink]) -> dict[int, str]:
    """Names by link id; of a chain of XDP programs all, the first to run first."""
    names: dict[int, list[str]] = {}
    for each in sorted(held, key=_priority):
        for number in each.link_ids:
            names.setdefault(number, []).append(each.name)
    return {number: ", ".join(each) for number, each in names.items()}


def with_chains(
    held: Iterable[HeldLink], found: Iterable[links_pb2.Attachment]
) -> Iterator[links_pb2.Attachment]:
    """Behind each composed program those that it is composed of."""
    members: dict[int, list[HeldLink]] = {}
    for each in sorted(held, key=_priority):
        for number in each.link_ids if _priority(each) else ():
            members.setdefault(number, []).append(each)
    for message in found:
        yield message
        for position, each in enumerate(members.get(message.link_id, ()), 1):
            part = links_pb2.Attachment()
            part.CopyFrom(message)
            part.program_id, part.composed_program_id = each.program_id, message.program_id
            part.position, part.link = position, each.name
            part.point.xdp.priority = _priority(each)
            part.point.xdp.proceed_on[:] = each.point.xdp.proceed_on
            yield part


def _priority(link: HeldLink) -> int:
    return link.point.xdp.priority if link.point.WhichOneof("point") == "xdp" else 0


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
