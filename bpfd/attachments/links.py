# SPDX-License-Identifier: Apache-2.0
"""Links of the kernel, until the place is found where each of them runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpfd.kernel import cgroup
from bpfd.kernel.constants import LinkType, name_of
from bpfd.kernel.holders import LINK, Opened
from bpfd.kernel.info import LinkInfo
from bpfd.v1 import common_pb2, links_pb2

_HAVE_INTERFACE = (LinkType.XDP, LinkType.TCX, LinkType.NETKIT)


@dataclass(frozen=True)
class Where:
    """What a link and the place that it is at both tell."""

    type: int
    program_id: int
    attach_type: int | None = None
    ifindex: int = 0
    cgroup_inode: int = 0
    netns_inode: int = 0
    map_id: int = 0


def where(info: LinkInfo) -> Where:
    """Where a link says that it is. Pure."""
    return Where(
        info.type,
        info.prog_id,
        info.attach_type,
        info.ifindex,
        cgroup.inode_of_id(info.cgroup_id),
        info.netns_inode,
        info.map_id,
    )


def is_detached(info: LinkInfo) -> bool:
    """Whether what the link was attached to has gone, and its program runs nowhere. Pure."""
    return (
        (info.type in _HAVE_INTERFACE and not info.ifindex)
        or (info.type == LinkType.CGROUP and not info.cgroup_id)
        or (info.type == LinkType.NETNS and not info.netns_inode)
        or (info.type == LinkType.SOCKMAP and not info.map_id)
    )


class Links:
    """Every link with its holders, pins and name; each is placed once."""

    def __init__(
        self,
        infos: Iterable[LinkInfo],
        opened: Opened,
        pins: dict[int, list[str]],
        names: dict[int, str],
    ) -> None:
        """`pins` are paths and `names` those of this daemon's links, by link id."""
        self._infos = {info.id: info for info in infos}
        self._placed: set[int] = set()
        self._at: dict[Where, list[LinkInfo]] = {}
        for info in self._infos.values():
            self._at.setdefault(where(info), []).append(info)
        self._holders = opened.holders(LINK)
        self.fds = opened.fds[LINK]
        self._pins = pins
        self._names = names

    def take(self, message: links_pb2.Attachment, link_id: int) -> None:
        """The link with this id, 0 for none, is at the attachment."""
        if info := self._infos.get(link_id):
            self._place(message, info)

    def match(self, message: links_pb2.Attachment, place: Where) -> None:
        """A link that tells of this place is at the attachment, if there is one left.

        The kernel tells an XDP link's interface without its namespace: of the same program
        on interfaces of the same number, one by a link and one without, either is taken.
        """
        for info in self._at.get(place, ()):
            if info.id not in self._placed:
                self._place(message, info)
                return

    def rest(self) -> Iterator[tuple[LinkInfo, links_pb2.Attachment]]:
        """Links that no place was found for, as attachments without one."""
        for info in self._infos.values():
            if info.id not in self._placed:
                message = links_pb2.Attachment(program_id=info.prog_id)
                self._place(message, info)
                yield info, message

    def _place(self, message: links_pb2.Attachment, info: LinkInfo) -> None:
        self._placed.add(info.id)
        message.method = links_pb2.ATTACHMENT_METHOD_LINK
        message.link_id = info.id
        message.link_type = info.type
        message.link_type_name = name_of(LinkType, info.type) or f"type {info.type}"
        if info.attach_type is not None:
            message.attach_type = info.attach_type
        message.pinned_paths.extend(self._pins.get(info.id, ()))
        message.holders.extend(
            common_pb2.Holder(pid=each.pid, comm=each.comm)
            for each in self._holders.get(info.id, ())
        )
        message.link = self._names.get(info.id, "")
