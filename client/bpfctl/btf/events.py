# SPDX-License-Identifier: Apache-2.0
"""Records of an EventBatch (protos/bpfd/v1/events.proto) as arrays."""

from __future__ import annotations

import sys
from array import array
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

    if not count:
        return np.zeros(0, dtype)
    if record_size:
        stride = HEADER_BYTES + (record_size + 7 & ~7)
        # The padding of the last record may be missing.
        if len(data) < (count - 1) * stride + HEADER_BYTES + record_size:
            raise BtfValueError(
                "", f"{count} records of {record_size} bytes do not fit into {len(data)} bytes"
            )
        if record_size >= dtype.itemsize:
            return np.ndarray((count,), dtype, data, HEADER_BYTES, (stride,))
        offsets = HEADER_BYTES + stride * np.arange(count)
        lengths = np.full(count, record_size)
    else:
        starts, sizes = record_spans(data, count, byteorder)
        offsets, lengths = np.frombuffer(starts, "i8"), np.frombuffer(sizes, "i8")
    result = np.zeros(count, dtype)
    target = result.view("u1").reshape(count, dtype.itemsize)
    lengths = np.minimum(lengths, dtype.itemsize)
    for length in filter(None, np.unique(lengths).tolist()):
        chosen = np.flatnonzero(lengths == length)
        # Every run of `length` bytes of the data as an item; those that are chosen are copied.
        runs = np.ndarray((len(data) - length + 1,), f"V{length}", data, 0, (1,))
        target[chosen, :length] = runs[offsets[chosen]].view("u1").reshape(-1, length)
    return result


def record_spans(
    data: bytes | memoryview, count: int, byteorder: ByteOrder = "little"
) -> tuple[array[int], array[int]]:
    """Offsets and lengths of the data of the records, by their headers.

    Raises BtfValueError when the data ends early.
    """
    words = array("I", bytes(data) + bytes(-len(data) % 4))
    if byteorder != sys.byteorder:
        words.byteswap()
    starts, lengths = array("q"), array("q")
    at, end = 0, len(data)
    for index in range(count):
        start = at + HEADER_BYTES
        length = words[at >> 2] & _LENGTH_MASK if start <= end else 0
        if start + length > end:
            raise BtfValueError("", f"record {index} of {count} ends behind the {end} bytes")
        starts.append(start)
        lengths.append(length)
        at = start + (length + 7 & ~7)
    return starts, lengths
