# SPDX-License-Identifier: Apache-2.0
"""What is at an address of the kernel, by /proc/kallsyms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfd.kernel.kernel_symbols import kallsyms

CALL_BASE = b"__bpf_call_base"
"""Calls of kernel functions in translated code are relative to it (kernel/bpf/core.c)."""


@dataclass(frozen=True)
class Symbol:
    """A line of /proc/kallsyms."""

    address: int
    name: str
    module: str
    """ "bpf" for programs; empty: the kernel itself."""


@functools.cache
def call_base() -> int:
    """Address of __bpf_call_base, for a daemon that may see it; 0: there is none."""
    ending = b" " + CALL_BASE + b"\n"
    for lines in kallsyms("vmlinux"):
        at = lines.find(ending)
        if at >= 0:
            return int(lines[lines.rfind(b"\n", 0, at) + 1 : at].split()[0], 16)
    return 0


def named(
    addresses: set[int], source: Callable[[], Iterator[bytes]] = kallsyms
) -> list[Symbol]:
    """The symbols that start at one of these addresses, by address; of aliases the first.

    `source` gives whole lines of /proc/kallsyms.
    """
    if not addresses:
        return []
    found: dict[int, Symbol] = {}
    wanted: set[bytes] = set()
    for piece in source():
        lines = piece.splitlines()
        if not wanted and lines:
            width = lines[0].find(b" ")  # of a kernel's pointer
            wanted = {b"%0*x" % (width, address) for address in addresses if address}
        for line in lines:
            if line[: line.find(b" ")] in wanted:
                symbol = _parsed(line)
                found.setdefault(symbol.address, symbol)
    return [found[address] for address in sorted(found)]


def _parsed(line: bytes) -> Symbol:
    address, _, rest = line.decode(errors="replace").split(" ", 2)
    name, _, module = rest.partition("\t")
    return Symbol(int(address, 16), name, module.strip("[]"))
