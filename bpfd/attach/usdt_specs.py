# SPDX-License-Identifier: Apache-2.0
"""Entries of the map __bpf_usdt_specs of bpf/usdt.bpf.h: which of them mean what.

A program finds the arguments of a probe by the number of an entry, which is its cookie. Alike
entries are shared. One that this process wrote becomes free with its last attachment; one
that was there before stays, for an earlier daemon's attachment may use it.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import Counter
from dataclasses import dataclass

from bpfd import errors
from bpfd.attach.failure import refused
from bpfd.attach.usdt_arguments import SPEC_BYTES
from bpfd.kernel import info, syscall
from bpfd.kernel.constants import Cmd

_KERNEL_NAME = b"__bpf_usdt_spec"
"""The first 15 bytes of __bpf_usdt_specs."""
_FREE = bytes(SPEC_BYTES)

_lock = threading.Lock()
_written: Counter[tuple[int, int]] = Counter()
"""Attachments that use an entry (map id, number) that this process wrote."""


@dataclass(frozen=True)
class Taken:
    """Entries of one map, in use until they are given back."""

    map_id: int
    numbers: tuple[int, ...]

    def give_back(self) -> None:
        """Frees what nobody uses any more; a map that is gone is no error."""
        with _lock:
            unused = set()
            for number in set(self.numbers):
                key = (self.map_id, number)
                if key not in _written:
                    continue
                _written[key] -= 1
                if not _written[key]:
                    del _written[key]
                    unused.add(number)
            if unused:
                _clear(self.map_id, unused)


def map_of(program_fd: int) -> int | None:
    """The id of a program's map of specs; None: it asks for no argument."""
    for number in info.prog_map_ids(program_fd, info.prog_info(program_fd)):
        try:
            fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, number)
        except OSError:
            continue
        try:
            if info.map_info(fd).name == _KERNEL_NAME:
                return number
        finally:
            os.close(fd)
    return None


def take(map_id: int, specs: list[bytes]) -> Taken:
    """An entry for each spec. Raises LimitExceeded, NotSupported, KernelError."""
    try:
        fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, map_id)
    except OSError as error:
        raise refused(error, "opening the map of USDT specs", "CAP_SYS_ADMIN") from None
    try:
        details = info.map_info(fd)
        if details.value_size != SPEC_BYTES:
            raise errors.NotSupported(
                "this version of usdt.bpf.h", needs=f"specs of {SPEC_BYTES} bytes"
            )
        with _lock:
            return _take(fd, map_id, details.max_entries, specs)
    except OSError as error:
        raise refused(error, "writing USDT specs", "CAP_SYS_ADMIN") from None
    finally:
        os.close(fd)


def _take(fd: int, map_id: int, size: int, specs: list[bytes]) -> Taken:
    there = [syscall.map_lookup_elem(fd, _key(each), SPEC_BYTES) for each in range(size)]
    numbers: dict[bytes, int] = {}
    for spec in specs:
        if spec not in numbers:
            wanted = spec if spec in there else _FREE
            if wanted not in there:
                raise errors.LimitExceeded(
                    "the number of different USDT specs of an object",
                    size,
                    hint="define BPF_USDT_MAX_SPEC_CNT in the program, or load it anew",
                )
            numbers[spec] = there.index(wanted)
            there[numbers[spec]] = spec
    fresh = {n for s, n in numbers.items() if _is_free(fd, n)}
    for spec, number in numbers.items():
        if number in fresh:
            syscall.map_update_elem(fd, _key(number), spec)
            _written[map_id, number] = 1
        elif (map_id, number) in _written:
            _written[map_id, number] += 1
    return Taken(map_id, tuple(numbers[spec] for spec in specs))


def _is_free(fd: int, number: int) -> bool:
    return syscall.map_lookup_elem(fd, _key(number), SPEC_BYTES) == _FREE


def _clear(map_id: int, numbers: set[int]) -> None:
    try:
        fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, map_id)
    except OSError:
        return
    try:
        for number in numbers:
            syscall.map_update_elem(fd, _key(number), _FREE)
    except OSError:
        return
    finally:
        os.close(fd)


def _key(number: int) -> bytes:
    return struct.pack("=I", number)
