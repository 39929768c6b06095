# SPDX-License-Identifier: Apache-2.0
"""Programs with all that is known of them: the rows of `bpfctl ps`."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bpfctl.listing import map_type, program_row, program_type

from .places import attachment_row, short, where

if TYPE_CHECKING:
    from bpfd.v1 import common_pb2

    from .machine import Machine

Row = dict[str, Any]

COMPACT = ("id", "type", "name", "attached", "held_by", "maps", "memory", "object")
WIDE = (
    *("id", "type", "name", "tag", "attached", "held_by", "pinned", "maps", "memory"),
    *("loaded", "uid", "jit", "gpl", "object"),
)
_SHOWN = 2
"""Places or holders in a compact cell; the others are counted."""


@dataclass(frozen=True)
class Filter:
    """Which programs; what is not given does not matter."""

    types: Collection[str] = ()
    pid: int = 0
    """Held by this process: itself, by a link or by a perf event."""
    name: str = ""
    """A glob over names."""
    ours: bool | None = None
    """True: of objects of the daemon; False: all others."""

    def takes(self, program: common_pb2.KernelProgram, machine: Machine) -> bool:
        """Whether a program is one of those."""
        if self.types and str(program_type(program.type)) not in self.types:
            return False
        if self.name and not fnmatch.fnmatchcase(program.name, self.name):
            return False
        if self.ours is not None and self.ours != bool(program.object):
            return False
        return not self.pid or self.pid in {each["pid"] for each in holders(program, machine)}


def rows(machine: Machine, wanted: Filter) -> list[Row]:
    """Everything that is known of each program; then places of unknown ones."""
    found = [full_row(each, machine) for each in _chosen(machine, wanted)]
    return found + (without_program(machine) if wanted == Filter() else [])


def table_rows(machine: Machine, wanted: Filter, *, wide: bool) -> list[Row]:
    """The same as lines of a table; `wide` shortens nothing."""
    found = [table_row(each, machine, wide=wide) for each in _chosen(machine, wanted)]
    if wanted == Filter():
        for each in without_program(machine):
            found.append({**each, "attached": each["attached"][0]["where"]})
    return found


def _chosen(machine: Machine, wanted: Filter) -> list[common_pb2.KernelProgram]:
    return [each for each in machine.answer.programs if wanted.takes(each, machine)]


def holders(program: common_pb2.KernelProgram, machine: Machine) -> list[Row]:
    """Who keeps a program: {"pid", "comm", "by"}, by "program", "link ID" or "event"."""
    found = [{"pid": each.pid, "comm": each.comm, "by": "program"} for each in program.holders]
    for attachment in machine.of_program(program.id):
        by = f"link {attachment.link_id}" if attachment.link_id else "event"
        found += [{"pid": each.pid, "comm": each.comm, "by": by} for each in attachment.holders]
    return found


def pins(program: common_pb2.KernelProgram, machine: Machine) -> list[str]:
    """Paths of pins of a program and of its links."""
    found = list(program.pinned_paths)
    for attachment in machine.of_program(program.id):
        found += attachment.pinned_paths
    return list(dict.fromkeys(found))


def full_row(program: common_pb2.KernelProgram, machine: Machine) -> Row:
    """The row of `program list` and, behind it, who holds the program, where it runs and
    its maps."""
    row = program_row(program)
    row["held_by"] = holders(program, machine)
    row["attached"] = [attachment_row(each, machine) for each in machine.of_program(program.id)]
    row["maps"] = [
        {"id": number, "name": machine.map_name(number), "type": _type_of(number, machine)}
        for number in program.map_ids
    ]
    return row


def _type_of(number: int, machine: Machine) -> str | int | None:
    entry = machine.maps.get(number)
    return map_type(entry.type) if entry else None


def table_row(program: common_pb2.KernelProgram, machine: Machine, *, wide: bool) -> Row:
    """A line of the table; `wide` shortens nothing."""
    count = 1 << 30 if wide else _SHOWN
    processes = dict.fromkeys(
        f"{each['comm']}[{each['pid']}]" for each in holders(program, machine)
    )
    pinned = pins(program, machine)
    text = where if wide else short
    places = [text(each, machine) for each in machine.of_program(program.id)]
    names = [machine.map_name(number) or str(number) for number in program.map_ids]
    return {
        "id": program.id,
        "type": program_type(program.type),
        "name": program.name,
        "tag": program.tag.hex(),
        "attached": shortened(list(dict.fromkeys(places)), count, "; " if wide else ", "),
        "held_by": shortened(list(processes) or ([] if wide else pinned), count),
        "pinned": shortened(pinned, count),
        "maps": shortened(names, count),
        "memory": size(program.bytes_memlock),
        "loaded": datetime.fromtimestamp(program.loaded_at.seconds).isoformat(" "),
        "uid": program.uid,
        "jit": program.jited,
        "gpl": program.gpl_compatible,
        "object": program.object,
    }


def without_program(machine: Machine) -> list[Row]:
    """Rows for places of which the kernel does not tell the program: routes, and perf events
    with programs on their samples that no link attached."""
    return [
        {"id": None, "name": each.member, "attached": [attachment_row(each, machine)]}
        for each in machine.of_program(0)
    ]


def shortened(words: list[str], count: int, separator: str = ", ") -> str:
    """The first ones, and how many more there are."""
    more = len(words) - count
    return separator.join(words[:count]) + (f" +{more}" if more > 0 else "")


def size(count: int) -> str:
    """Bytes as people read them: "4.0K", "17M"."""
    number, unit = float(count), ""
    for unit in ("", "K", "M", "G"):
        if number < 1024 or unit == "G":
            break
        number /= 1024
    return f"{number:.0f}{unit}" if number >= 10 or not unit else f"{number:.1f}{unit}"
