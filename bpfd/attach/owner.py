# SPDX-License-Identifier: Apache-2.0
"""Who is attached to a point that is taken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from bpfd import errors
from bpfd.kernel import holders, info, syscall
from bpfd.kernel.constants import Cmd, LinkType
from bpfd.kernel.info import LinkInfo


def busy_interface(point: str, program_id: int, ifindex: int) -> errors.AttachBusy:
    """The error for an interface on which this XDP program is."""
    link_id = link_of(
        program_id, lambda link: (link.type, link.ifindex) == (LinkType.XDP, ifindex)
    )
    owner = describe(program_id, link_id)
    if not link_id:
        owner += "; attached without a link, `ip link set dev NAME xdp off` removes it"
    return errors.AttachBusy(point, owner, program_id, link_id)


def describe(program_id: int, link_id: int = 0) -> str:
    """ "program 12 (xdp_pass) by link 3, held by loader[4711], pinned at /sys/fs/bpf/x"."""
    if not program_id:
        return "a program that the kernel does not name"
    text = f"program {program_id}"
    if name := program_name(program_id):
        text += f" ({name})"
    if link_id:
        text += f" by link {link_id}"
    kind, number = (holders.LINK, link_id) if link_id else (holders.PROGRAM, program_id)
    if found := holders.processes(kind, number):
        text += ", held by " + ", ".join(f"{each.comm}[{each.pid}]" for each in found[:5])
    if pins := holders.pins(kind, number):
        text += ", pinned at " + ", ".join(pins[:5])
    return text


def program_name(program_id: int) -> str:
    """The kernel's name of a program; "" when it has none or is gone."""
    try:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program_id)
    except OSError:
        return ""
    try:
        name: bytes = info.prog_info(fd).name
        return name.decode(errors="replace")
    finally:
        os.close(fd)


def link_of(program_id: int, matches: Callable[[LinkInfo], bool]) -> int:
    """The id of a program's link that fits; 0: there is none."""
    found = (link.id for link in links() if link.prog_id == program_id and matches(link))
    return next(found, 0)


def links() -> Iterator[LinkInfo]:
    """Every link of the kernel; what vanishes meanwhile is left out."""
    for number in syscall.ids(Cmd.LINK_GET_NEXT_ID):
        try:
            fd = syscall.fd_by_id(Cmd.LINK_GET_FD_BY_ID, number)
        except OSError:
            continue
        try:
            found = info.link_info(fd)
        finally:
            os.close(fd)
        yield found
