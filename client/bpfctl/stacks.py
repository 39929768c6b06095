# SPDX-License-Identifier: Apache-2.0
"""Stacks of stack_trace maps as names: of the kernel, and of one process."""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bpfctl.errors import BpfctlError

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import target_pb2

MAX_ELF_BYTES = 256 << 20
"""Of a file whose symbols are read; a larger one's addresses are shown as offsets."""

_BUILD_ID_BYTES = 32
_EMPTY, _VALID = 0, 1
"""enum bpf_stack_build_id_status of include/uapi/linux/bpf.h."""


class Names:
    """Symbols by address."""

    def __init__(self, symbols: Iterable[tuple[int, int, str]]) -> None:
        """`symbols` are (address, bytes, name); bytes 0: up to the next symbol."""
        self._symbols = sorted(symbols, key=lambda each: each[:2])
        self._starts = [start for start, _, _ in self._symbols]

    @property
    def first(self) -> int:
        """The lowest address; one that nothing reaches where there is none."""
        return self._starts[0] if self._starts else 1 << 64

    def find(self, address: int) -> str:
        """NAME+0xOFFSET; empty: no symbol holds the address."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return ""
        start, size, name = self._symbols[at]
        if size and address >= start + size:
            return ""
        return f"{name}+{address - start:#x}" if address > start else name


def kernel_names(kallsyms: bytes) -> Names:
    """Functions in the text of /proc/kallsyms; none where it hides addresses. Pure."""
    found = []
    for line in kallsyms.decode(errors="replace").splitlines():
        parts = line.split(maxsplit=3)
        if len(parts) < 3 or parts[1] not in "tTwW":
            continue
        address = int(parts[0], 16)
        if address:
            module = f" {parts[3].strip()}" if len(parts) > 3 else ""
            found.append((address, 0, f"{parts[2]}{module}"))
    return Names(found)


@dataclass(frozen=True)
class File:
    """Functions of an ELF file, and where its segments lie."""

    names: Names
    segments: tuple[tuple[int, int, int], ...]
    """(offset in the file, bytes, virtual address) of each that is loaded."""

    def find(self, offset: int) -> str:
        """The function at an offset in the file; empty: unknown."""
        for start, size, address in self.segments:
            if start <= offset < start + size:
                return self.names.find(address + offset - start)
        return ""


def elf_file(data: bytes) -> File:
    """Reads symbols: those of .symtab, else of .dynsym. Pure.

    Raises ValueError for what is no ELF file.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(data))
        segments = tuple(
            (each["p_offset"], each["p_filesz"], each["p_vaddr"])
            for each in elf.iter_segments()
            if each["p_type"] == "PT_LOAD"
        )
        table: Any = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
        symbols = [
            (each["st_value"], each["st_size"], each.name)
            for each in (table.iter_symbols() if table is not None else ())
            if each["st_info"]["type"] == "STT_FUNC" and each["st_value"]
        ]
    except (ELFError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    return File(Names(symbols), segments)


class StackSymbols:
    """Reads stacks of a target; symbols are fetched when the first address needs them."""

    def __init__(self, target: Target, pid: int = 0, *, build_ids: bool = False) -> None:
        """`pid`: process that frames of user space are of; 0: unknown, and they are numbers.
        `build_ids`: the map was made with BPF_F_STACK_BUILD_ID."""
        self._target = target
        self._pid = pid
        self._build_ids = build_ids
        self._order = ">" if target.info().big_endian else "<"
        self._files: dict[str, File | None] = {}

    def frames(self, raw: bytes) -> list[str]:
        """The frames of a value, the innermost first."""
        if self._build_ids:
            return [
                self._by_build_id(raw[at : at + _BUILD_ID_BYTES])
                for at in range(0, len(raw), _BUILD_ID_BYTES)
                if raw[at : at + 4] != b"\0\0\0\0"
            ]
        addresses = struct.unpack(f"{self._order}{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])
        return [self._frame(address) for address in addresses if address]

    def _by_build_id(self, raw: bytes) -> str:
        """struct bpf_stack_build_id"""
        status, build_id, number = struct.unpack(f"{self._order}i20sQ", raw)
        if status != _VALID:
            return self._frame(number)
        for mapping in self._mappings:
            if mapping.build_id and build_id.startswith(mapping.build_id):
                file = self._file(mapping.path)
                if file is not None and (name := file.find(number)):
                    return name
                return f"{mapping.path}+{number:#x}"
        return f"{build_id.hex()}+{number:#x}"

    def _frame(self, address: int) -> str:
        if address >= self._kernel.first:
            return self._kernel.find(address) or f"{address:#x}"
        return self._of_process(address) or f"{address:#x}"

    @cached_property
    def _kernel(self) -> Names:
        from bpfd.v1 import target_pb2

        rpc = self._target.rpc
        request = target_pb2.GetKallsymsRequest()
        with rpc.stream(rpc.target.GetKallsyms, request, "Target.GetKallsyms") as stream:
            return kernel_names(b"".join(chunk.data for chunk in stream))

    @cached_property
    def _mappings(self) -> list[target_pb2.Mapping]:
        if not self._pid:
            return []
        from bpfd.v1 import target_pb2

        rpc = self._target.rpc
        request = target_pb2.ListProcessesRequest(pids=[self._pid], mappings=True)
        found: list[target_pb2.Mapping] = []
        with rpc.stream(rpc.target.ListProcesses, request, "Target.ListProcesses") as stream:
            for chunk in stream:
                for process in chunk.processes:
                    found.extend(process.mappings)
        return found

    def _of_process(self, address: int) -> str:
        for mapping in self._mappings:
            if mapping.start <= address < mapping.end:
                offset = address - mapping.start + mapping.file_offset
                file = self._file(mapping.path)
                name = file.find(offset) if file is not None else ""
                return name or f"{mapping.path}+{offset:#x}"
        return ""

    def _file(self, path: str) -> File | None:
        """Symbols of a file that the process maps; None: not to be had."""
        if path not in self._files:
            self._files[path] = self._read(path)
        return self._files[path]

    def _read(self, path: str) -> File | None:
        if not path.startswith("/"):
            return None
        files = self._target.files
        try:
            if files.stat(path).size > MAX_ELF_BYTES:
                return None
            return elf_file(files.read(path))
        except (BpfctlError, ValueError):
            return None
