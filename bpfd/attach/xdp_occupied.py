# SPDX-License-Identifier: Apache-2.0
"""Who has an interface's XDP hook: one program, a chain of a bpfd, a dispatcher of libxdp."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass

from bpfd import errors
from bpfd.attach.chain.load import members_of
from bpfd.attach.chain.member import ACTIONS, Member
from bpfd.attach.owner import busy_interface, links, program_name
from bpfd.attach.place import Place
from bpfd.attach.told import program_type_of
from bpfd.kernel import holders, info, syscall
from bpfd.kernel.constants import Cmd, LinkType, ProgType
from bpfd.kernel.libbpf import function_name

LIBXDP_NAME = "xdp_dispatcher"
_MAGIC = 236
_SLOTS = 10
_VERSION_2 = struct.Struct("=BBBB10I10I")
_VERSION_1 = struct.Struct("=B3x10I10I")
_PINNED = re.compile(r"/dispatch-\d+-(\d+)/prog(\d+)-prog$")


@dataclass(frozen=True)
class Slot:
    """A program's place in a dispatcher of libxdp."""

    priority: int
    proceed_on: tuple[int, ...]


def dispatcher_slots(config: bytes) -> list[Slot]:
    """The places that are taken, by the variables of a dispatcher. Pure.

    Its struct is xdp_dispatcher_config of libxdp's prog_dispatcher.h: magic, version, number
    of programs and whether they take fragments, then arrays of ten of return codes as bits
    and of priorities. In the first version the number alone comes before them.
    """
    if len(config) >= _VERSION_2.size and config[0] == _MAGIC:
        _, _, count, _, *words = _VERSION_2.unpack_from(config)
    elif len(config) >= _VERSION_1.size:
        count, *words = _VERSION_1.unpack_from(config)
    else:
        return []
    actions, priorities = words[:_SLOTS], words[_SLOTS:]
    return [
        Slot(priority, tuple(code for code in range(len(ACTIONS)) if bits >> code & 1))
        for bits, priority in list(zip(actions, priorities, strict=True))[: min(count, _SLOTS)]
    ]


def busy(place: Place, program_id: int, *, joins: bool) -> errors.AttachBusy:
    """The error for an interface that runs this program. Run inside its namespace.

    `joins`: asked for was a place in a chain.
    """
    found = busy_interface(str(place), program_id, place.ifindex)
    if members := members_of(program_id):
        found.owner = _chain(found.owner, members, place, joins=joins)
    elif program_name(program_id) == LIBXDP_NAME:
        found.owner = _dispatcher(found.owner, program_id, place)
    elif joins:
        found.owner += (
            ". It has no priority and so the interface alone: detach it, and attach it again "
            f"with one (xdp:{place.name},priority=NUMBER)"
        )
    return found


def _chain(owner: str, members: tuple[Member, ...], place: Place, *, joins: bool) -> str:
    if joins:
        how = "; that is a chain of another bpfd, or one whose pins are gone"
    else:
        how = f"; with a priority a program joins it (xdp:{place.name},priority=NUMBER)"
    return f"a chain of {len(members)} ({'; '.join(map(str, members))}), {owner}{how}"


def _dispatcher(owner: str, program_id: int, place: Place) -> str:
    slots = _slots_of(program_id)
    names = _programs_of(program_id)
    count = max(len(slots), max(names, default=-1) + 1)
    shown = []
    for index in range(count):
        text = names.get(index, "a program that cannot be seen")
        if index < len(slots):
            codes = ", ".join(ACTIONS[code] for code in slots[index].proceed_on) or "none"
            text += f" (priority {slots[index].priority}, goes on after {codes})"
        shown.append(text)
    held = f", which runs {'; '.join(shown)}" if shown else ""
    return (
        f"a dispatcher of libxdp{held}: {owner}. It is left as it is: add to it or unload it "
        f"with libxdp's tools (`xdp-loader status {place.name}`)"
    )


def _slots_of(program_id: int) -> list[Slot]:
    try:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program_id)
    except OSError:
        return []
    try:
        for number in info.prog_map_ids(fd, info.prog_info(fd)):
            map_fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, number)
            try:
                about = info.map_info(map_fd)
                if about.max_entries == 1 and about.key_size == 4:
                    return dispatcher_slots(
                        syscall.map_lookup_elem(map_fd, bytes(4), about.value_size)
                    )
            finally:
                os.close(map_fd)
    except OSError:
        return []
    finally:
        os.close(fd)
    return []


def _programs_of(dispatcher: int) -> dict[int, str]:
    """Programs in a dispatcher by their place: what replaces its functions, or is pinned."""
    found: dict[int, str] = {}
    for link in links():
        if (link.type, link.target_obj_id) != (LinkType.TRACING, dispatcher):
            continue
        if program_type_of(link.prog_id) == ProgType.EXT:
            index = _index(dispatcher, link.target_btf_id)
            found[index if index >= 0 else len(found)] = _named(link.prog_id)
    for number, paths in holders.all_pins(holders.PROGRAM).items():
        for path in paths:
            pinned = _PINNED.search(path)
            if pinned and int(pinned[1]) == dispatcher:
                found.setdefault(int(pinned[2]), _named(number))
    return found


def _index(dispatcher: int, function: int) -> int:
    """N of the function progN of a dispatcher; -1: it has another name."""
    try:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, dispatcher)
    except OSError:
        return -1
    try:
        name = function_name(info.prog_info(fd).btf_id, function)
    finally:
        os.close(fd)
    number = name.removeprefix("prog")
    return int(number) if name.startswith("prog") and number.isdecimal() else -1


def _named(program_id: int) -> str:
    return f"program {program_id} ({program_name(program_id)})"
