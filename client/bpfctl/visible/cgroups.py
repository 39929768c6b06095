# SPDX-License-Identifier: Apache-2.0
"""Programs of control groups, as a tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfctl.errors import NotFound, NotSupported
from bpfctl.listing import attach_type

from .places import attachment_row, flag_names

if TYPE_CHECKING:
    from bpfd.v1 import links_pb2

    from .machine import Machine

Row = dict[str, Any]


def require(machine: Machine, path: str) -> None:
    """Raises NotSupported where no cgroup2 is mounted, and NotFound for a path outside."""
    if not (root := machine.answer.cgroup_root):
        raise NotSupported(
            "cgroup hooks", needs="mount cgroup2: mount -t cgroup2 none /sys/fs/cgroup"
        )
    if f"{_top(machine, path)}/".startswith(f"{root.rstrip('/')}/"):
        return
    raise NotFound("cgroup", path, hint=f"cgroup2 is mounted at {root}")


def rows(machine: Machine, path: str = "") -> list[Row]:
    """A row for each cgroup with programs, at or below `path`, from the top down.

    `cgroup`, `programs` with `id`, `attach_type`, `attach_flags`, `name` are as in
    `bpftool -j cgroup tree`; the rest of an attachment comes behind them.
    """
    return [
        {
            "cgroup": group,
            "cgroup_id": messages[0].cgroup_id,
            "programs": [_program_row(each, machine) for each in messages],
        }
        for group, messages in _by_group(machine, path).items()
    ]


def lines(machine: Machine, path: str = "") -> Iterator[tuple[int, str]]:
    """(depth, text): cgroups with programs and those that lead to them."""
    top = _top(machine, path)
    groups = _by_group(machine, path)
    shown: set[str] = set()
    for group, messages in groups.items():
        for above in _from_top(top, group):
            if above not in shown:
                shown.add(above)
                yield _depth(top, above), above if above == top else os.path.basename(above)
        for message in messages:
            yield _depth(top, group) + 1, _line(message, machine)


def _top(machine: Machine, path: str) -> str:
    root = machine.answer.cgroup_root
    return os.path.normpath(os.path.join(root, path)) if path else root


def _by_group(machine: Machine, path: str) -> dict[str, list[links_pb2.Attachment]]:
    top = _top(machine, path)
    found: dict[str, list[links_pb2.Attachment]] = {}
    for each in machine.attachments:
        group = each.cgroup_path
        if group and (group == top or group.startswith(top.rstrip("/") + "/")):
            found.setdefault(group, []).append(each)
    return found


def _from_top(top: str, group: str) -> list[str]:
    """The cgroups from the top one down to this one."""
    rest = group[len(top) :].strip("/")
    found = [top]
    for name in rest.split("/") if rest else ():
        found.append(f"{found[-1].rstrip('/')}/{name}")
    return found


def _depth(top: str, group: str) -> int:
    return len(_from_top(top, group)) - 1


def _program_row(message: links_pb2.Attachment, machine: Machine) -> Row:
    row = attachment_row(message, machine)
    known = {
        "id": message.program_id,
        "attach_type": attach_type(message.attach_type),
        "attach_flags": ",".join(flag_names(message.attach_flags)),
        "name": machine.program_name(message.program_id),
    }
    for name in ("prog_id", "cgroup", "cgroup_id", *known):
        row.pop(name, None)
    return known | row


def _line(message: links_pb2.Attachment, machine: Machine) -> str:
    head = f"{attach_type(message.attach_type)} {message.position}."
    words = [f"{head:<28} {message.program_id} {machine.program_name(message.program_id)}"]
    words[0] = words[0].rstrip()
    if message.inherited:
        words.append("from above")
    words += flag_names(message.attach_flags)
    if message.link_id:
        held = [f"{each.comm}[{each.pid}]" for each in message.holders]
        words.append(f"link {message.link_id}" + (f" of {held[0]}" if held else ""))
    words += message.pinned_paths
    if message.link:
        words.append(f"attached as {message.link}")
    return ", ".join(words)
