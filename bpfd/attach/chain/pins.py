# SPDX-License-Identifier: Apache-2.0
"""Pins of the prog arrays that lead from one piece of a chain to the next.

A prog array is emptied when nobody in user space holds it, though a program uses it: what is
to outlive the daemon needs a pin. They are CHAINS/LINK/MAP, both as kernel ids.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable

from bpfd.kernel import bpffs, syscall
from bpfd.kernel.info import map_info

_log = logging.getLogger("bpfd.attach.chain.pins")

folder = ""
"""Where they are, of this process's daemon; "": nothing is pinned."""


def keep(link_id: int, fds: Iterable[int]) -> None:
    """Pins arrays of a chain. Raises OSError."""
    for fd in fds if folder else ():
        bpffs.make_folder(f"{folder}/{link_id}")
        bpffs.pin(fd, f"{folder}/{link_id}/{map_info(fd).id}")


def opened(link_id: int) -> list[int]:
    """Fds of all that are pinned of a chain."""
    found = []
    for name in bpffs.entries(f"{folder}/{link_id}") if folder else ():
        try:
            found.append(syscall.obj_get(f"{folder}/{link_id}/{name}"))
        except OSError as error:
            _log.warning("array %s of link %d is lost: %s", name, link_id, error.strerror)
    return found


def drop(link_id: int, fds: Iterable[int]) -> None:
    """Closes arrays of a chain and removes their pins."""
    for fd in fds:
        if folder:
            bpffs.remove(f"{folder}/{link_id}/{map_info(fd).id}")
        os.close(fd)
    if folder:
        bpffs.remove_empty(f"{folder}/{link_id}")
        bpffs.remove_empty(folder)


def any_left() -> bool:
    """Whether there are pins of chains."""
    return bool(folder) and bool(bpffs.entries(folder))


def prune(link_ids: Collection[int]) -> None:
    """Removes what belongs to none of these chains."""
    for name in bpffs.entries(folder) if folder else ():
        if name not in {str(number) for number in link_ids}:
            bpffs.remove(f"{folder}/{name}")
    if folder:
        bpffs.remove_empty(folder)
