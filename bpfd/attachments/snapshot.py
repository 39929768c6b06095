# SPDX-License-Identifier: Apache-2.0
"""The whole machine: one look at every kind of place.

Programs are listed first, and a kind of place is only searched when there is a program that
may be in one: a router's million routes are read only where a program is for routes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from bpfd import listing
from bpfd.attach import told_functions
from bpfd.attach.found import name_clock
from bpfd.attach.told import point_of
from bpfd.attachments import cgroups, events, map_entries, maps, network, owned
from bpfd.attachments.links import Links, is_detached
from bpfd.kernel import cgroup, holders, tracefs
from bpfd.kernel.constants import LinkType
from bpfd.kernel.holders import Opened
from bpfd.maps import listing as map_listing
from bpfd.objects.objects import Objects
from bpfd.v1 import links_pb2

_NOT_SEARCHED = (
    (
        "lirc devices",
        "the kernel tells their programs only to who opens the device, which others may use",
    ),
    (
        "sockets of processes",
        "the kernel tells neither a socket's filter nor a reuseport group's program",
    ),
    (
        "programs in actions of tc filters (act_bpf)",
        "they are not searched; their programs are of type sched_act",
    ),
    (
        "the network namespace of netfilter links",
        "the kernel does not tell them; those of this daemon are known",
    ),
)


def snapshot(
    objects: Objects, request: links_pb2.ListAttachmentsRequest
) -> links_pb2.ListAttachmentsResponse:
    """Every attachment; with programs and maps where the request asks for them."""
    started = time.monotonic_ns()
    look = _Look(objects, effective=request.effective)
    response = links_pb2.ListAttachmentsResponse(cgroup_root=cgroup.root_or_none() or "")
    response.attachments.extend(look.attachments())
    response.namespaces.extend(look.namespaces)
    response.left_out.extend(look.left_out)
    pins, opened = look.pins, look.opened
    if request.programs:
        held = opened.holders(holders.PROGRAM)
        listing.add_program_owners(look.programs, held, pins[holders.PROGRAM], look.infos)
        response.programs.extend(look.programs)
    if request.maps:
        map_listing.add_owners(look.maps, opened.holders(holders.MAP), pins[holders.MAP])
        response.maps.extend(look.maps)
    response.took_ns = time.monotonic_ns() - started
    return response


class _Look:
    """What one look at the machine has found, in the order in which it looked."""

    def __init__(self, objects: Objects, *, effective: bool) -> None:
        self._effective = effective
        self._held = owned.held_links(objects.registry)
        self.programs = listing.programs(objects.registry, set(), False)
        self.maps = map_listing.maps(objects, set(), False)
        self.infos = listing.link_infos()
        self.opened: Opened = holders.opened()
        self.pins = holders.every_pin()
        self.namespaces = list(network.namespaces(self.opened))
        self.left_out = [links_pb2.LeftOut(what=what, why=why) for what, why in _NOT_SEARCHED]

    def attachments(self) -> list[links_pb2.Attachment]:
        """Every place, each once."""
        names = owned.link_names(self._held)
        links = Links(self.infos, self.opened, self.pins[holders.LINK], names)
        types = {int(each.type) for each in self.programs}
        told = events.sort(events.ask(self.opened), self.infos, links.fds)
        inside = network.attachments(self.namespaces, links, types, self._leave_out)
        found = list(owned.with_chains(self._held, inside))
        found += cgroups.attachments(links, types, effective=self._effective)
        found += maps.attachments(links, {each.id: int(each.type) for each in self.maps})
        found += map_entries.attachments(self.maps, self._leave_out)
        found += self._named(self._without_place(links, told))
        found += self._named(events.attachments(told.others, self.opened))
        found += owned.name_unlinked(self._held, found)
        told_functions.add_places(found)
        return found

    def _leave_out(self, what: str, why: str) -> None:
        self.left_out.append(links_pb2.LeftOut(what=what, why=why))

    def _without_place(
        self, links: Links, told: events.Found
    ) -> Iterator[links_pb2.Attachment]:
        """Links of which all is known that can be: by themselves and by this daemon."""
        held = {number: each for each in self._held for number in each.link_ids}
        programs = {each.id: each for each in self.programs}
        names = told_functions.target_names(self.infos)
        for info, message in links.rest():
            program = programs.get(info.prog_id)
            message.target_name = info.target_name or names.get(info.id, "")
            message.offset, message.address = info.offset, info.address
            message.ifindex, message.map_id = info.ifindex, info.map_id
            message.cgroup_id = info.cgroup_id
            message.events.extend(events.messages(told.of_links.get(info.id, ())))
            if is_detached(info):
                message.detached = True
            elif info.id in held:
                owned.add_point(message, held[info.id])
            else:
                point = point_of(info, int(program.type) if program else 0)
                if point.WhichOneof("point") is not None:
                    message.point.CopyFrom(point)
                if info.type == LinkType.TRACING and point.HasField("freplace"):
                    message.point.freplace.function = message.target_name
            yield message

    def _named(
        self, messages: Iterable[links_pb2.Attachment]
    ) -> Iterator[links_pb2.Attachment]:
        """With the categories of tracepoints and the clocks of samples."""
        categories: dict[str, str] = {}
        for message in messages:
            match message.point.WhichOneof("point"):
                case "tracepoint" if not message.point.tracepoint.category:
                    name = message.point.tracepoint.name
                    if name not in categories:
                        categories[name] = tracefs.category_if_mounted(name)
                    message.point.tracepoint.category = categories[name]
                case "perf_event":
                    name_clock(message.point.perf_event)
            yield message
