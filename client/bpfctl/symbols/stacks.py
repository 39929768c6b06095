# SPDX-License-Identifier: Apache-2.0
"""Stacks of stack_trace maps as names: of the kernel, and of one process."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import TYPE_CHECKING

from bpfctl.errors import NotFound
from bpfctl.symbols.frame import KERNEL, Frame
from bpfctl.symbols.process import Process
from bpfctl.symbols.symbolizer import Symbolizer

if TYPE_CHECKING:
    from bpfctl.target import Target

_BUILD_ID_BYTES = 32
_VALID = 1
"""BPF_STACK_BUILD_ID_VALID of include/uapi/linux/bpf.h; the number is a file offset."""


class StackSymbols:
    """Reads stacks of a target; symbols are fetched when the first address needs them."""

    def __init__(self, target: Target, pid: int = 0, *, build_ids: bool = False) -> None:
        """`pid`: process that frames of user space are of; 0: unknown, and they are numbers.
        `build_ids`: the map was made with BPF_F_STACK_BUILD_ID."""
        self._symbolizer = Symbolizer(target)
        self._pid = pid
        self._build_ids = build_ids
        self._order = ">" if target.info().big_endian else "<"
        self._kernel_half = 1 << (target.info().pointer_bits or 64) - 1
        self._in_halves = target.info().pointer_bits != 32

    def frames(self, raw: bytes) -> list[str]:
        """The frames of a value, the innermost first."""
        found: list[Frame] = []
        if self._build_ids:
            for at in range(0, len(raw), _BUILD_ID_BYTES):
                if raw[at : at + 4] != b"\0\0\0\0":
                    found.extend(self._by_build_id(raw[at : at + _BUILD_ID_BYTES], at > 0))
        else:
            addresses = struct.unpack(
                f"{self._order}{len(raw) // 8}Q", raw[: len(raw) // 8 * 8]
            )
            for number, address in enumerate(each for each in addresses if each):
                found.extend(self._frames(address, number > 0))
        return [shown(frame) for frame in found]

    def _by_build_id(self, raw: bytes, returns: bool) -> tuple[Frame, ...]:
        """struct bpf_stack_build_id"""
        status, build_id, number = struct.unpack(f"{self._order}i20sQ", raw)
        if status != _VALID:
            return self._frames(number, returns)
        # Whoever says the process means the files that it maps.
        _ = self._process
        return self._symbolizer.by_build_id([(build_id, number)], returns=returns)[0]

    def _frames(self, address: int, returns: bool) -> tuple[Frame, ...]:
        if self._is_kernel(address):
            return self._symbolizer.kernel([address], returns=returns)[0]
        if self._process is None:
            return (Frame("", address=address),)
        return self._symbolizer.user(self._process, [address], returns=returns)[0]

    def _is_kernel(self, address: int) -> bool:
        """On 64 bits the upper half is the kernel's; on 32 it begins where it was built to."""
        if self._in_halves:
            return address >= self._kernel_half
        return address >= self._symbolizer.kallsyms.first

    @cached_property
    def _process(self) -> Process | None:
        if not self._pid:
            return None
        found = self._symbolizer.snapshot([self._pid]).get(self._pid)
        if found is None:
            raise NotFound("process", str(self._pid))
        return found


def shown(frame: Frame) -> str:
    """NAME+0xOFFSET, with the module of the kernel; an inlined one says so."""
    if not frame.name:
        return frame.text
    if frame.inlined:
        return f"{frame.name} (inlined)"
    module = f" {frame.module}" if frame.kind == "kernel" and frame.module != KERNEL else ""
    offset = f"+{frame.offset:#x}" if frame.offset else ""
    return f"{frame.name}{module}{offset}"
