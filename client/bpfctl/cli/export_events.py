# SPDX-License-Identifier: Apache-2.0
"""Events of a command into a Parquet file or a Perfetto trace."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO

from bpfctl.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfctl.btf.codec import Codec
    from bpfctl.cli.show_events import Ring
    from bpfctl.events import Losses
    from bpfctl.export.parquet import ParquetFile
    from bpfctl.export.perfetto import PerfettoFile
    from bpfctl.target import Target
    from bpfctl.wire import EventBatch


def _codec(ring: Ring) -> Codec:
    if ring.reader.codec is None:
        raise InvalidArgument(
            "type of the events", f"that of {ring.name} is not known; say it with --type"
        )
    return ring.reader.codec


class ParquetExporter:
    """The events of one ring as a table."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._table: ParquetFile | None = None

    @staticmethod
    def check() -> None:
        """Raises InvalidArgument where pyarrow is missing."""
        from bpfctl.export import needed

        needed("pyarrow.parquet", "-o parquet")

    def begin(self, target: Target, rings: Sequence[Ring]) -> None:
        """Write the head of the file. Raises InvalidArgument for several rings."""
        from bpfctl.export.parquet import ParquetFile

        if len(rings) != 1:
            names = ", ".join(ring.name for ring in rings)
            raise InvalidArgument(
                "output", f"a parquet file holds one ring; choose one of {names} with --events"
            )
        ring, info = rings[0], target.info()
        codec = _codec(ring)
        about = {
            "bpfctl.target": target.name,
            "bpfctl.map": ring.name,
            "bpfctl.type": codec.type_name,
            "bpfctl.boot_id": info.boot_id,
            "bpfctl.monotonic_epoch_ns": str(info.monotonic_epoch.ToNanoseconds()),
            "bpfctl.boottime_epoch_ns": str(info.boottime_epoch.ToNanoseconds()),
        }
        if ring.reader.where is not None:
            about["bpfctl.where"] = ring.reader.where.text
        self._table = ParquetFile(self._file, codec, about=about)

    def write(self, ring: Ring, batch: EventBatch, most: int, losses: Losses) -> int:
        """Records of a batch, `most` at most; gives how many."""
        assert self._table is not None
        array = ring.reader.array(batch)[:most]
        self._table.write(array)
        return len(array)

    def __enter__(self) -> ParquetExporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._table is None:
            return
        if kind is not None and issubclass(kind, OSError):
            # Nothing can be written any more.
            with contextlib.suppress(Exception):
                self._table.close()
            return
        self._table.close()


class PerfettoExporter:
    """The events of all rings as a trace."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._trace: PerfettoFile | None = None
        self._lost: dict[str, int] = {}

    @staticmethod
    def check() -> None:
        """Raises InvalidArgument where perfetto's classes are missing."""
        from bpfctl.export import needed

        needed("perfetto.protos.perfetto.trace.perfetto_trace_pb2", "-o perfetto")

    def begin(self, target: Target, rings: Sequence[Ring]) -> None:
        """Learn the target's clocks."""
        from bpfctl.export.perfetto import PerfettoFile
        from bpfctl.export.timing import Epochs

        for ring in rings:
            _codec(ring)
        info = target.info()
        epochs = Epochs(
            info.monotonic_epoch.ToNanoseconds(), info.boottime_epoch.ToNanoseconds()
        )
        self._trace = PerfettoFile(self._file, epochs)

    def write(self, ring: Ring, batch: EventBatch, most: int, losses: Losses) -> int:
        """Records of a batch, `most` at most; gives how many."""
        assert self._trace is not None
        array = ring.reader.array(batch)[:most]
        if len(array):
            self._trace.write(ring.name, _codec(ring), array, batch.read_at_ns, batch.cpu)
        if losses.total != self._lost.get(ring.name, 0):
            self._lost[ring.name] = losses.total
            self._trace.lost(ring.name, losses.total, batch.read_at_ns)
        return len(array)

    def __enter__(self) -> PerfettoExporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._trace is not None and not (kind is not None and issubclass(kind, OSError)):
            self._trace.close()
