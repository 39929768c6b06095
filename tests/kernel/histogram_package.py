# SPDX-License-Identifier: Apache-2.0
"""A package of histograms in the kernel, for tests: attached where its sections say."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from bpfctl.histograms import Histogram, from_rows

from bpfd.attach import raw_tracepoint
from bpfd.attach.attachment import Program
from bpfd.kernel import map_io, syscall
from bpfd.kernel.constants import ProgType
from bpfd.kernel.info import map_info
from bpfd.v1 import attach_pb2
from tests.kernel.loaded_package import LoadedPackage


class HistogramPackage:
    """A loaded package whose raw tracepoints are attached; close it."""

    def __init__(self, name: str, settings: Mapping[str, str]) -> None:
        self.package = LoadedPackage(name, settings)
        self._undo = ExitStack()
        self._undo.callback(self.package.close)
        self._step = int(settings.get("step", "0"))
        for program in self.package.loaded.programs.values():
            point = attach_pb2.RawTracepoint(name=program.section.rpartition("/")[2])
            kernel = Program(program.fd, program.id, program.name, ProgType.RAW_TRACEPOINT)
            self._undo.callback(raw_tracepoint.attach(kernel, point).close)

    def histograms(self, map_name: str, *keys: str) -> list[Histogram]:
        """What the programs have counted so far."""
        rows: list[dict[str, Any]] = []
        fd = self.package.fd(map_name)
        codec = self.package.codecs(map_name)[0]
        for chunk in map_io.read(fd, map_io.shape(map_info(fd)), 256):
            for at in range(0, len(chunk.keys), codec.size):
                key = codec.decode(chunk.keys[at : at + codec.size])
                rows.append(
                    {"key": key, "value": self.package.get(map_name, codec.format(key))}
                )
        return from_rows(rows, keys=keys, step=self._step)

    def missed(self) -> int:
        return int(self.package.get("missed", "0"))

    def entries(self, map_name: str) -> int:
        """Keys that are there."""
        fd = self.package.fd(map_name)
        size, count = map_info(fd).key_size, 0
        key = syscall.map_get_next_key(fd, None, size)
        while key is not None:
            count += 1
            key = syscall.map_get_next_key(fd, key, size)
        return count

    def close(self) -> None:
        self._undo.close()
