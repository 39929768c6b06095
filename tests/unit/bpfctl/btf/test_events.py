# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from bpfctl.btf import BtfValueError
from bpfctl.btf.events import decode_events, record_spans
from bpfctl.btf.parse import ByteOrder
from hypothesis import given
from hypothesis import strategies as st

ITEM = np.dtype([("a", "<u4"), ("b", "u1", (8,))])


def batch(records: list[bytes], order: ByteOrder = "little") -> bytes:
    """Records as a ring buffer holds them."""
    return b"".join(
        len(record).to_bytes(4, order) + bytes(4) + record + bytes(-len(record) % 8)
        for record in records
    )


def item(record: bytes) -> bytes:
    """What a record is as an item of ITEM."""
    return record[: ITEM.itemsize].ljust(ITEM.itemsize, b"\0")


@given(st.lists(st.binary(min_size=0, max_size=30)), st.sampled_from(["little", "big"]))
def test_unlike_records(records: list[bytes], order: ByteOrder) -> None:
    found = decode_events(batch(records, order), 0, len(records), ITEM, order)
    assert [one.tobytes() for one in found] == [item(record) for record in records]


@given(st.integers(1, 30), st.integers(0, 5))
def test_records_that_are_alike(size: int, count: int) -> None:
    records = [bytes([index]) * size for index in range(count)]
    data = batch(records)
    found = decode_events(data, size, count, ITEM)
    assert [one.tobytes() for one in found] == [item(record) for record in records]
    assert found.tobytes() == decode_events(data, 0, count, ITEM).tobytes()
    assert found.flags.owndata is (size < ITEM.itemsize or count == 0)


def test_a_last_record_without_its_padding() -> None:
    data = batch([bytes(12), bytes(12)])[:-4]
    assert len(decode_events(data, 12, 2, ITEM)) == 2
    assert len(decode_events(data, 0, 2, ITEM)) == 2


def test_data_that_ends_early() -> None:
    data = batch([bytes(16), bytes(16)])
    with pytest.raises(BtfValueError, match="3 records of 16 bytes do not fit into 48"):
        decode_events(data, 16, 3, ITEM)
    for cut in (1, 17, 20, 24):
        with pytest.raises(BtfValueError, match="ends behind"):
            decode_events(data[:-cut], 0, 2, ITEM)
    with pytest.raises(BtfValueError, match="record 2 of 3"):
        record_spans(data, 3)


def test_flags_of_the_header_are_no_length() -> None:
    data = bytearray(batch([b"12345678"]))
    data[3] |= 0xC0
    assert [part.tolist() for part in record_spans(bytes(data), 1)] == [[8], [8]]
