# SPDX-License-Identifier: Apache-2.0
"""Programs that stand in maps: for tail calls, and behind redirects of XDP."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator

from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd, MapType
from bpfd.v1 import common_pb2, links_pb2

MAX_ENTRIES = 1024
"""Every index of an array is asked: beyond, that takes longer than all other searches."""

_REDIRECTS = (MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP)
_WITH_PROGRAM = 8
"""Bytes of a value with a program: struct bpf_devmap_val, bpf_cpumap_val (5.8, 5.9)."""


def attachments(
    maps: Iterable[common_pb2.KernelMap], leave_out: Callable[[str, str], None]
) -> Iterator[links_pb2.Attachment]:
    """One for each entry with a program."""
    for each in maps:
        kind = int(each.type)
        is_calls = kind == MapType.PROG_ARRAY
        if not is_calls and not (kind in _REDIRECTS and each.value_size == _WITH_PROGRAM):
            continue
        if each.max_entries > MAX_ENTRIES and kind != MapType.DEVMAP_HASH:
            why = f"it has room for {each.max_entries}, and {MAX_ENTRIES} are looked at"
            leave_out(f"programs in map {each.id} ({each.name})", why)
            continue
        for key, value in _entries(each.id, each.value_size):
            program_id = program_in(value)
            if program_id:
                yield links_pb2.Attachment(
                    program_id=program_id,
                    method=links_pb2.ATTACHMENT_METHOD_MAP_ENTRY,
                    map_id=each.id,
                    member=str(key),
                    target_name="tail call" if is_calls else "redirect",
                )


def program_in(value: bytes) -> int:
    """The program id in a value: alone, or behind an interface or a queue's size. Pure."""
    return int(struct.unpack_from("=I", value, len(value) - 4)[0])


def _entries(map_id: int, value_size: int) -> Iterator[tuple[int, bytes]]:
    """(key, value) of those that are there; at most `MAX_ENTRIES`."""
    try:
        fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, map_id)
    except OSError:
        return
    try:
        key: bytes | None = None
        for _ in range(MAX_ENTRIES):
            key = syscall.map_get_next_key(fd, key, 4)
            if key is None:
                return
            try:
                value = syscall.map_lookup_elem(fd, key, value_size)
            except OSError:
                continue  # empty, or gone meanwhile
            yield int.from_bytes(key, sys.byteorder), value
    except OSError:
        return
    finally:
        os.close(fd)
