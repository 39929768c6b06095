# SPDX-License-Identifier: Apache-2.0
"""Unwind tables in a target's maps: of executable files, and where processes map them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from bpfctl.errors import BpfctlError
from bpfctl.unwind.makers import Makers
from bpfctl.unwind.rows import ROW

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bpfctl.objects import LoadedObject
    from bpfctl.sessions import Session
    from bpfctl.symbols.process import Mapping, Process
    from bpfctl.target import Target
    from bpfctl.unwind.file_table import Table

MAX_MAPPINGS = 128
"""UNWIND_MAPPINGS of bpf/include/bpfd/unwind.h."""

MAX_TABLE_BYTES = 32 << 20
"""Of all tables in the target's memory: 2.8 million rows, about a hundred times libc's."""

_MAPPING = struct.Struct("<QQQII")
_PROCESS = struct.Struct("<II")


class Unwinder:
    """Keeps the maps of an object that includes bpfd/unwind.h up to date.

    `fetch(process, mapping)` gives a mapped file as a file here, or raises BpfctlError or
    ValueError. Files that many processes map have one table.
    """

    def __init__(
        self,
        target: Target,
        session: Session,
        loaded: LoadedObject,
        fetch: Callable[[Process, Mapping], Path],
        max_bytes: int = MAX_TABLE_BYTES,
    ) -> None:
        self._target = target
        self._session = session
        self._loaded = loaded
        self._fetch = fetch
        self._free = max_bytes
        self.makers = Makers()
        self._tables: dict[str, tuple[int, Table] | None] = {}
        self._processes = loaded.map("unwind_processes")
        self._outer = loaded.map("unwind_tables")
        self.missed: dict[str, str] = {}
        """Files that have no table, and why."""
        self._known: dict[int, bytes] = {}

    def add(self, processes: Iterable[Process]) -> None:
        """Takes the mappings of processes; again when they have mapped more."""
        listed = list(processes)
        self._bring(listed)
        for process in listed:
            value = self._value(process)
            if self._known.get(process.pid) != value:
                self._processes.update_raw(struct.pack("<I", process.pid), value)
                self._known[process.pid] = value

    def remove(self, pids: Iterable[int]) -> None:
        """Forgets processes that have ended."""
        for pid in pids:
            if self._known.pop(pid, None) is not None:
                self._processes.delete(pid)

    def _value(self, process: Process) -> bytes:
        found = []
        for mapping in sorted(process.mappings, key=lambda each: each.start):
            entry = self._entry(mapping)
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

    def _bring(self, processes: Iterable[Process]) -> None:
        """Tables that are not on the target yet."""
        fresh = {
            _key(mapping): (process, mapping)
            for process in processes
            for mapping in process.mappings
            if mapping.path.startswith("/") and _key(mapping) not in self._tables
        }
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            made = pool.map(lambda each: self._made(*each), fresh.values())
            for (key, (_, mapping)), table in zip(fresh.items(), made, strict=True):
                self._tables[key] = self._placed(mapping.path, table)

    def _made(self, process: Process, mapping: Mapping) -> Table | str:
        """The table, or why there is none."""
        try:
            return self.makers.table(
                mapping.build_id.hex(), lambda: self._fetch(process, mapping)
            )
        except (BpfctlError, OSError, ValueError) as error:
            return str(error)

    def _placed(self, path: str, table: Table | str) -> tuple[int, Table] | None:
        """The table's index on the target; None: it has none."""
        why = table if isinstance(table, str) else ""
        if not isinstance(table, str):
            if not len(table.rows):
                why = "it has no .eh_frame"
            elif table.rows.nbytes > self._free:
                why = f"its table of {table.rows.nbytes >> 10} KiB does not fit beside others"
            else:
                self._free -= table.rows.nbytes
                index = sum(each is not None for each in self._tables.values())
                self._upload(index, table.rows)
                return index, table
        self.missed[path] = why
        return None

    def _entry(self, mapping: Mapping) -> bytes | None:
        known = self._tables.get(_key(mapping)) if mapping.path.startswith("/") else None
        if known is None:
            return None
        index, table = known
        bias = table.bias(mapping.start, mapping.file_offset)
        if bias is None:
            return None
        return _MAPPING.pack(
            mapping.start, mapping.end, bias % (1 << 64), index, len(table.rows)
        )

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


def _key(mapping: Mapping) -> str:
    return mapping.build_id.hex() or f"{mapping.path}:{mapping.inode}"
