# SPDX-License-Identifier: Apache-2.0
"""The functions that links are at: those of links at many places, and of trampolines."""

from __future__ import annotations

import os
from collections.abc import Iterable

from bpfd.kernel import kernel_symbols, libbpf, syscall
from bpfd.kernel.constants import Cmd, LinkType
from bpfd.kernel.info import (
    LinkInfo,
    ProgInfo,
    kprobe_multi_places,
    prog_info,
    uprobe_multi_places,
)
from bpfd.v1 import attach_pb2, links_pb2

MAX_PLACES = 4096
"""Places of one link that are told; a link may have a million."""

_SHOWN = 64
"""Places that an attach point names; of more it is told how many there are."""


def add_places(messages: Iterable[links_pb2.KernelLink | links_pb2.Attachment]) -> None:
    """Puts the places of kprobe_multi and uprobe_multi links into them and their points."""
    global _known
    many = {_number(each): each for each in messages if _type(each) in _MANY}
    before = _known
    known = {each: before[each] for each in many.keys() & before.keys()}
    fresh = {number: _places(each) for number, each in many.items() if number not in known}
    wanted = {place.address for places in fresh.values() for place in places if place.address}
    names = kernel_symbols.names_of(wanted) if wanted else {}
    for places in fresh.values():
        for place in places:
            place.function, place.module = names.get(place.address, ("", ""))
    found = _known = known | fresh
    for number, message in many.items():
        _fill(message, found[number])


_known: dict[int, list[links_pb2.LinkPlace]] = {}
"""Places by link id, which no other link gets: what they are never changes, and reading the
kernel's symbols takes long."""

_MANY = (LinkType.KPROBE_MULTI, LinkType.UPROBE_MULTI)


def _type(message: links_pb2.KernelLink | links_pb2.Attachment) -> int:
    return message.type if isinstance(message, links_pb2.KernelLink) else message.link_type


def _number(message: links_pb2.KernelLink | links_pb2.Attachment) -> int:
    return message.id if isinstance(message, links_pb2.KernelLink) else message.link_id


def _places(message: links_pb2.KernelLink | links_pb2.Attachment) -> list[links_pb2.LinkPlace]:
    try:
        fd = syscall.fd_by_id(Cmd.LINK_GET_FD_BY_ID, _number(message))
    except OSError:
        return []
    try:
        if _type(message) == LinkType.KPROBE_MULTI:
            pairs = sorted(zip(*kprobe_multi_places(fd), strict=True))
            return [links_pb2.LinkPlace(address=place, cookie=value) for place, value in pairs]
        return [
            links_pb2.LinkPlace(file_offset=offset, semaphore_offset=semaphore, cookie=cookie)
            for offset, semaphore, cookie in zip(*uprobe_multi_places(fd), strict=True)
        ]
    except OSError:  # kernels tell it since 6.6 and 6.8
        return []
    finally:
        os.close(fd)


def _fill(
    message: links_pb2.KernelLink | links_pb2.Attachment, places: list[links_pb2.LinkPlace]
) -> None:
    if isinstance(message, links_pb2.KernelLink):
        message.place_count = len(places)
        message.places.extend(places[:MAX_PLACES])
    elif len(places) > _SHOWN:
        message.target_name = message.target_name or f"{len(places)} functions"
    if len(places) > _SHOWN:
        return
    point = message.point
    match point.WhichOneof("point"):
        case "kprobe_multi" if all(each.function for each in places):
            point.kprobe_multi.functions.extend(each.function for each in places)
        case "kprobe_multi":
            point.kprobe_multi.addresses.extend(each.address for each in places)
        case "uprobe_multi":
            _fill_uprobes(point.uprobe_multi, places)
    if point.WhichOneof("point") == "kprobe_multi" and any(each.cookie for each in places):
        point.kprobe_multi.cookies.extend(each.cookie for each in places)


def _fill_uprobes(point: attach_pb2.UprobeMulti, places: list[links_pb2.LinkPlace]) -> None:
    point.ClearField("file_offsets")
    point.file_offsets.extend(each.file_offset for each in places)
    for name, values in (
        ("cookies", [each.cookie for each in places]),
        ("semaphore_offsets", [each.semaphore_offset for each in places]),
    ):
        point.ClearField(name)  # type: ignore[arg-type]
        if any(values):
            getattr(point, name).extend(values)


def target_names(infos: Iterable[LinkInfo]) -> dict[int, str]:
    """Names of the functions that tracing links are at, by link id."""
    wanted: dict[int, dict[int, list[int]]] = {}
    for info in infos:
        if info.type == LinkType.TRACING and (btf_id := _target_btf(info)):
            wanted.setdefault(btf_id, {}).setdefault(info.target_btf_id, []).append(info.id)
    return {
        link_id: name
        for btf_id, links in wanted.items()
        for type_id, name in libbpf.function_names(btf_id, links).items()
        for link_id in links[type_id]
    }


def target_program(info: LinkInfo) -> int:
    """Id of the program whose function a tracing link is at; 0: it is at the kernel's.

    The link tells a number that is a program's or that of the kernel's BTF. Programs at the
    kernel's functions tell the BTF, too; the others tell none, once they are attached.
    """
    told = _program(info.prog_id) if info.type == LinkType.TRACING else None
    at_program = told and told.attach_btf_id and not told.attach_btf_obj_id
    return info.target_obj_id if at_program else 0


def _target_btf(info: LinkInfo) -> int:
    if not (number := target_program(info)):
        return info.target_obj_id
    told = _program(number)
    return int(told.btf_id) if told else 0


def _program(program_id: int) -> ProgInfo | None:
    try:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program_id)
    except OSError:
        return None
    try:
        return prog_info(fd)
    finally:
        os.close(fd)
