# SPDX-License-Identifier: Apache-2.0
"""Records into a Parquet file, in row groups, so that memory has a bound."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from bpfctl.export import columns, needed

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array

GROUP_BYTES = 8 << 20
GROUP_ROWS = 1 << 17
"""Raw bytes, and records, that are kept until they become a row group."""


class ParquetFile:
    """A file of records of one type; a context manager. Without `close` it cannot be read:
    what Parquet readers begin with stands at its end."""

    def __init__(
        self,
        file: BinaryIO,
        codec: Codec,
        *,
        about: Mapping[str, str] | None = None,
        group_bytes: int = GROUP_BYTES,
    ) -> None:
        """`about` becomes metadata of the file. The file is written from its front to its end,
        so a pipe will do, and it stays open. Raises InvalidArgument without pyarrow."""
        parquet: Any = needed("pyarrow.parquet", "parquet")
        self._codec = codec
        self._schema = columns.schema(codec).with_metadata(dict(about or {}))
        self._group_bytes = group_bytes
        self._waiting: list[Array] = []
        self._rows = 0
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._closed = False

    def write(self, array: Array) -> None:
        """Records as `RecordReader.array` gives them. Raises OSError."""
        size = max(self._codec.size, 1)
        step = max(1, min(self._group_bytes // size, GROUP_ROWS))
        at = 0
        while at < len(array):
            taken = array[at : at + step - self._rows]
            self._waiting.append(taken)
            self._rows += len(taken)
            at += len(taken)
            if self._rows >= step:
                self._write_group()

    def _write_group(self) -> None:
        import numpy as np

        waiting, rows = self._waiting, self._rows
        if not rows:
            return
        self._waiting, self._rows = [], 0
        # As bytes: members of unions lie over each other.
        raw = f"V{waiting[0].itemsize}"
        group = np.empty(rows, raw)
        np.concatenate([array.view(raw) for array in waiting], out=group)
        batch = columns.table(group.view(waiting[0].dtype), self._codec, self._schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Write what is left, and the end. Raises OSError."""
        if self._closed:
            return
        self._closed = True
        try:
            self._write_group()
        except BaseException:
            with contextlib.suppress(Exception):
                self._writer.close()
            raise
        self._writer.close()

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
