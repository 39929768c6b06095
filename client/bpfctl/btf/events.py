# SPDX-License-Identifier: Apache-2.0
"""Records of an EventBatch (protos/bpfd/v1/events.proto) as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.parse import ByteOrder

if TYPE_CHECKING:
    import numpy as np

    from bpfctl.btf.columns import Array

HEADER_BYTES = 8
_LENGTH_MASK = (1 << 30) - 1
"""Lengths of the kernel's ring buffer have 30 bits (BPF_RINGBUF_BUSY_BIT, _DISCARD_BIT)."""


def decode_events(
    data: bytes | memoryview,
    record_size: int,
    count: int,
    dtype: np.dtype[Any],
    byteorder: ByteOrder = "little",
) -> Array:
    """The records of a batch as an array of `dtype`, one item for each.

    Records that are all alike and long enough are a view of the data. Others are copied:
    what a record is too short for is zero, what it has behind the type is left out.

    `record_size` and `count` are those of the batch; a size of 0 means that the headers
    are walked. Raises BtfValueError when the data ends early.
    """
    import numpy as np

    if record_size:
        stride = HEADER_BYTES + (record_size + 7 & ~7)
        # The padding of the last record may be missing.
        if count and len(data) < (count - 1) * stride + HEADER_BYTES + record_size:
            raise BtfValueError(
                "", f"{count} records of {record_size} bytes do not fit into {len(data)} bytes"
            )
        if record_size >= dtype.itemsize:
            return np.ndarray((count,), dtype, data, HEADER_BYTES, (stride,))
        offsets = HEADER_BYTES + stride * np.arange(count)
        lengths = np.full(count, record_size)
    else:
        spans = list(record_spans(data, count, byteorder))
        offsets = np.array([offset for offset, _ in spans], "i8")
        lengths = np.array([length for _, length in spans], "i8")
    result = np.zeros(count, dtype)
    source = np.frombuffer(data, "u1")
    target = result.view("u1").reshape(count, dtype.itemsize)
    lengths = np.minimum(lengths, dtype.itemsize)
    for length in np.unique(lengths).tolist():
        chosen = np.flatnonzero(lengths == length)
        target[chosen, :length] = source[offsets[chosen, None] + np.arange(length)]
    return result


def record_spans(
    data: bytes | memoryview, count: int, byteorder: ByteOrder = "little"
) -> Iterator[tuple[int, int]]:
    """(offset, length) of the data of each record, by its header.

    Raises BtfValueError when the data ends early.
    """
    at, end = 0, len(data)
    for index in range(count):
        length = int.from_bytes(data[at : at + 4], byteorder) & _LENGTH_MASK
        start = at + HEADER_BYTES
        if start + length > end:
            raise BtfValueError("", f"record {index} of {count} ends behind the {end} bytes")
        yield start, length
        at = start + (length + 7 & ~7)
