# SPDX-License-Identifier: Apache-2.0
"""Functions of a kernel, its modules and its BPF programs, as /proc/kallsyms has them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from bpfctl.symbols.frame import KERNEL

FARTHEST = 4 << 20
"""Bytes from a symbol to an address that is still its own: kallsyms has no sizes, and
behind the last symbol of a module there may be nothing."""


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """A function."""

    name: str
    module: str
    """"[kernel]", "[nf_tables]", "[bpf]"."""
    address: int


class Kallsyms:
    """Symbols by address. Pure."""

    def __init__(self, text: Iterable[bytes]) -> None:
        """`text` is in pieces that end with whole lines. Symbols that have the address 0
        are hidden (kptr_restrict), and left out."""
        found: list[tuple[int, str, str]] = []
        self.hidden = 0
        for piece in text:
            for line in piece.decode(errors="replace").splitlines():
                parts = line.split(None, 3)
                if len(parts) < 3:
                    continue
                address = int(parts[0], 16)
                if address:
                    module = parts[3] if len(parts) > 3 else KERNEL
                    # Data has an end for what is before it, and no name.
                    name = parts[2] if parts[1] in "tTwW" else ""
                    found.append((address, name, module))
                else:
                    self.hidden += 1
        # Of several names the first is that which the kernel itself prints.
        found.sort(key=lambda each: each[0])
        self._starts: list[int] = []
        self._symbols: list[KernelSymbol] = []
        for address, name, module in found:
            if self._starts and self._starts[-1] == address:
                if name and not self._symbols[-1].name:
                    self._symbols[-1] = KernelSymbol(name, module, address)
                continue
            self._starts.append(address)
            self._symbols.append(KernelSymbol(name, module, address))

    def __len__(self) -> int:
        return len(self._symbols)

    @property
    def first(self) -> int:
        """The lowest address; one that nothing reaches where there is none."""
        return self._starts[0] if self._starts else 1 << 64

    def find(self, address: int) -> KernelSymbol | None:
        """The function that holds an address; None: it is not known."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address - self._starts[at] >= FARTHEST:
            return None
        found = self._symbols[at]
        return found if found.name else None

    def address_of(self, name: str) -> int:
        """Where a symbol of the kernel itself is; 0: it is not known."""
        for symbol in self._symbols:
            if symbol.name == name and symbol.module == KERNEL:
                return symbol.address
        return 0
