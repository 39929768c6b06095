# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import struct

import pytest
from bpfctl.btf import Codec
from bpfctl.records import RecordReader
from bpfctl.wire import EventBatch


def batch(values: list[int]) -> EventBatch:
    data = b"".join(struct.pack("<IIQ", 8, 0, value) for value in values)
    return EventBatch(count=len(values), record_size=8, data=memoryview(data))


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1000])
def test_few_and_many_records_read_alike(count: int) -> None:
    values = [number * 3 for number in range(count)]
    reader = RecordReader(Codec.raw(8))
    expected = [{"value": value} for value in values]
    assert reader.rows(batch(values)) == expected
    lines = reader.json_lines(batch(values)).decode().splitlines()
    assert [json.loads(line) for line in lines] == expected


def test_array_is_a_view() -> None:
    array = RecordReader(Codec.raw(8)).array(batch([5, 6, 7]))
    assert array.tolist() == [5, 6, 7]
    assert array.base is not None


def test_records_without_a_type_are_hexadecimal() -> None:
    assert RecordReader(None).rows(batch([255])) == [{"data": "ff" + "00" * 7}]


def test_record_that_is_too_short_is_filled_up() -> None:
    data = memoryview(struct.pack("<II", 2, 0) + b"\1\2" + bytes(6))
    short = EventBatch(count=1, record_size=2, data=data)
    assert RecordReader(Codec.raw(4)).rows(short) == [{"value": 0x201}]
