# SPDX-License-Identifier: Apache-2.0
"""Programs of perf events and raw tracepoints that processes have open.

A process that attached by a link mostly keeps the perf event, too: of the descriptors of one
place that a process has, as many belong to links as it has descriptors of those links.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpfd.kernel import syscall
from bpfd.kernel.constants import LinkType
from bpfd.kernel.holders import Opened
from bpfd.kernel.info import LinkInfo
from bpfd.kernel.syscall import EventProgram
from bpfd.v1 import attach_pb2, common_pb2, links_pb2

_RAW_TRACEPOINT, _TRACEPOINT, _KPROBE, _KRETPROBE, _UPROBE, _URETPROBE = range(6)
_PERF_TYPES = {1: _UPROBE, 2: _URETPROBE, 3: _KPROBE, 4: _KRETPROBE, 5: _TRACEPOINT}
"""enum bpf_task_fd_type by the enum bpf_perf_event_type of links."""
_SAMPLES = 6
_TOLD_NOTHING = 0
_ANY_SAMPLE = EventProgram(0, -1, "", 0, 0)
"""A program on samples, of which BPF_TASK_FD_QUERY tells no more than that it is there."""

Descriptor = tuple[int, int]
"""(pid, fd)."""


@dataclass(frozen=True)
class Found:
    """What the descriptors of perf events come to."""

    of_links: dict[int, list[Descriptor]]
    """Those that belong to a link, by its id."""
    others: dict[EventProgram, list[Descriptor]]
    """Those with a program that no link attached."""


def ask(opened: Opened) -> dict[EventProgram, list[Descriptor]]:
    """Descriptors of perf events that have a program, by what the kernel tells of them."""
    found: dict[EventProgram, list[Descriptor]] = {}
    for pid, fd in opened.events:
        try:
            told = syscall.task_fd_query(pid, fd)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                found.setdefault(_ANY_SAMPLE, []).append((pid, fd))
            continue
        if told.program_id:
            found.setdefault(told, []).append((pid, fd))
    return found


def sort(
    told: dict[EventProgram, list[Descriptor]],
    infos: Iterable[LinkInfo],
    link_fds: dict[int, list[Descriptor]],
) -> Found:
    """Descriptors of perf events sorted into those of links and others. Pure."""
    links = [info for info in infos if info.type == LinkType.PERF_EVENT]
    found = Found({}, {})
    used: set[tuple[int, Descriptor]] = set()
    for event, descriptors in told.items():
        fitting = [info for info in links if _fits(info, event)]
        for descriptor in descriptors:
            pid = descriptor[0]
            owner = next(
                (
                    (info.id, each)
                    for info in fitting
                    for each in link_fds.get(info.id, ())
                    if each[0] == pid and (info.id, each) not in used
                ),
                None,
            )
            if owner is None:
                found.others.setdefault(event, []).append(descriptor)
            else:
                used.add(owner)
                found.of_links.setdefault(owner[0], []).append(descriptor)
    for info in infos:
        if info.type == LinkType.RAW_TRACEPOINT:
            found.of_links[info.id] = list(link_fds.get(info.id, ()))
    return found


def _fits(info: LinkInfo, event: EventProgram) -> bool:
    if event == _ANY_SAMPLE:
        return info.perf_type in (_SAMPLES, _TOLD_NOTHING)
    if info.prog_id != event.program_id:
        return False
    if info.perf_type == _TOLD_NOTHING:
        return True
    place = (_PERF_TYPES.get(info.perf_type), info.target_name, info.offset)
    return place == (event.type, event.name, event.offset)


def attachments(
    others: dict[EventProgram, list[Descriptor]], opened: Opened
) -> Iterator[links_pb2.Attachment]:
    """Programs that were attached by PERF_EVENT_IOC_SET_BPF, one for each place."""
    for event, descriptors in others.items():
        message = links_pb2.Attachment(
            program_id=event.program_id,
            method=links_pb2.ATTACHMENT_METHOD_PERF_EVENT,
            target_name=event.name,
            offset=event.offset,
            address=event.address,
            events=messages(descriptors),
            point=point_of(event),
        )
        message.holders.extend(
            common_pb2.Holder(pid=pid, comm=opened.names.get(pid, ""))
            for pid in dict(descriptors)
        )
        yield message


def messages(descriptors: Iterable[Descriptor]) -> list[links_pb2.EventDescriptor]:
    """As the API shows them."""
    return [links_pb2.EventDescriptor(pid=pid, fd=fd) for pid, fd in descriptors]


def point_of(event: EventProgram) -> attach_pb2.AttachPoint:
    """Where the program of a perf event runs, without what the kernel does not tell. Pure."""
    point = attach_pb2.AttachPoint()
    match event.type:
        case 1:
            point.tracepoint.name = event.name
        case 2 | 3:
            if event.name:
                point.kprobe.function = event.name
                point.kprobe.offset = event.offset
            else:
                point.kprobe.address = event.address
            point.kprobe.ret = event.type == _KRETPROBE
        case 4 | 5:
            point.uprobe.binary = event.name
            point.uprobe.file_offset = event.offset
            point.uprobe.ret = event.type == _URETPROBE
        case -1:
            point.perf_event.SetInParent()
    return point
