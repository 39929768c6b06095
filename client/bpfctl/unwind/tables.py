# SPDX-License-Identifier: Apache-2.0
"""Unwind tables in a target's maps: of executable files, and where processes map them."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bpfctl.config import cache_dir
from bpfctl.errors import BpfctlError
from bpfctl.unwind.rows import ROW, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bpfctl.objects import LoadedObject
    from bpfctl.sessions import Session
    from bpfctl.target import Target
    from bpfd.v1 import target_pb2

MAX_MAPPINGS = 128
"""UNWIND_MAPPINGS of bpf/include/bpfd/unwind.h."""

_MAPPING = struct.Struct("<QQQII")
_PROCESS = struct.Struct("<II")
_VERSION = 1
"""Of the rows in the cache: raised when the same file would give others."""

_PF_X = 1


@dataclass(frozen=True)
class Segment:
    """An executable PT_LOAD segment."""

    offset: int
    address: int
    bytes: int


@dataclass(frozen=True)
class Table:
    """What unwinding needs of one file."""

    rows: NDArray[np.void]
    segments: Sequence[Segment]

    def bias(self, start: int, offset: int) -> int | None:
        """Of addresses in a mapping above those of the file; None: no segment is there."""
        for segment in self.segments:
            if segment.offset - 0xFFFF <= offset < segment.offset + segment.bytes:
                return start - (offset - segment.offset + segment.address)
        return None


def table_of(data: bytes) -> Table:
    """The table of an ELF file; raises ValueError, see `rows_of`."""
    from elftools.elf.elffile import ELFFile

    rows = rows_of(io.BytesIO(data))
    segments = [
        Segment(each["p_offset"], each["p_vaddr"], each["p_filesz"])
        for each in ELFFile(io.BytesIO(data)).iter_segments("PT_LOAD")
        if each["p_flags"] & _PF_X
    ]
    return Table(rows, segments)


def cached(key: str, fetch: Callable[[], bytes]) -> Table:
    """The table of the file with that build id (hexadecimal), from the cache or made."""
    path = cache_dir() / "unwind" / f"{key}-{_VERSION}.npz"
    try:
        with np.load(path) as stored:
            segments = [Segment(*map(int, each)) for each in stored["segments"]]
            return Table(stored["rows"], segments)
    except (OSError, ValueError, KeyError):
        pass
    table = table_of(fetch())
    _store(path, table)
    return table


def _store(path: Path, table: Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    segments = np.array([(x.offset, x.address, x.bytes) for x in table.segments], dtype="<u8")
    with fresh.open("wb") as file:
        np.savez(file, rows=table.rows, segments=segments.reshape(-1, 3))
    os.replace(fresh, path)


class Unwinder:
    """Keeps the maps of an object that includes bpfd/unwind.h up to date.

    `fetch(process, mapping)` gives the bytes of a mapped file, or raises BpfctlError.
    """

    def __init__(
        self,
        target: Target,
        session: Session,
        loaded: LoadedObject,
        fetch: Callable[[target_pb2.Process, target_pb2.Mapping], bytes],
    ) -> None:
        self._target = target
        self._session = session
        self._loaded = loaded
        self._fetch = fetch
        self._tables: dict[str, tuple[int, Table] | None] = {}
        self._processes = loaded.map("unwind_processes")
        self._outer = loaded.map("unwind_tables")
        self.missed: dict[str, str] = {}
        """Files that have no table, and why."""
        self._known: dict[int, bytes] = {}

    def add(self, processes: Iterable[target_pb2.Process]) -> None:
        """Takes the mappings of processes; again when they have mapped more."""
        for process in processes:
            value = self._value(process)
            if self._known.get(process.pid) != value:
                self._processes.update_raw(struct.pack("<I", process.pid), value)
                self._known[process.pid] = value

    def remove(self, pids: Iterable[int]) -> None:
        """Forgets processes that have ended."""
        for pid in pids:
            if self._known.pop(pid, None) is not None:
                self._processes.delete(pid)

    def _value(self, process: target_pb2.Process) -> bytes:
        found = []
        for mapping in sorted(process.mappings, key=lambda each: each.start):
            entry = self._entry(process, mapping)
            if entry is not None:
                found.append(entry)
        if len(found) > MAX_MAPPINGS:
            self.missed[f"process {process.pid}"] = (
                f"{len(found)} files with tables, {MAX_MAPPINGS} are taken"
            )
            del found[MAX_MAPPINGS:]
        mappings = b"".join(found)
        return (_PROCESS.pack(len(found), 0) + mappings).ljust(
            _PROCESS.size + MAX_MAPPINGS * _MAPPING.size, b"\0"
        )

    def _entry(self, process: target_pb2.Process, mapping: target_pb2.Mapping) -> bytes | None:
        if not mapping.path.startswith("/"):
            return None
        table = self._table(process, mapping)
        if table is None:
            return None
        index, known = table
        bias = known.bias(mapping.start, mapping.file_offset)
        if bias is None:
            return None
        return _MAPPING.pack(
            mapping.start, mapping.end, bias % (1 << 64), index, len(known.rows)
        )

    def _table(
        self, process: target_pb2.Process, mapping: target_pb2.Mapping
    ) -> tuple[int, Table] | None:
        key = mapping.build_id.hex() or f"{mapping.path}:{mapping.inode}"
        if key not in self._tables:
            self._tables[key] = self._made(process, mapping)
        return self._tables[key]

    def _made(
        self, process: target_pb2.Process, mapping: target_pb2.Mapping
    ) -> tuple[int, Table] | None:
        try:
            if mapping.build_id:
                table = cached(mapping.build_id.hex(), lambda: self._fetch(process, mapping))
            else:
                table = table_of(self._fetch(process, mapping))
        except (BpfctlError, ValueError) as error:
            self.missed[mapping.path] = str(error)
            return None
        if not len(table.rows):
            self.missed[mapping.path] = "it has no .eh_frame"
            return None
        index = sum(each is not None for each in self._tables.values())
        self._upload(index, table.rows)
        return index, table

    def _upload(self, index: int, rows: NDArray[np.void]) -> None:
        from bpfctl.map_create import Definition, create, flags_of

        definition = Definition(
            "array", "u32", str(ROW.itemsize), len(rows), flags=flags_of("inner_map")
        )
        name = f"{self._loaded.name}-unwind{index}"
        made = create(self._target, name, definition, session=self._session)
        keys = np.arange(len(rows), dtype="<u4").tobytes()
        made.update_raw(keys, rows.tobytes())
        self._outer.update([(index, str(made.info.id))])
