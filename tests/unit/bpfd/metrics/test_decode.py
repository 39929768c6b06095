# SPDX-License-Identifier: Apache-2.0
"""Bytes of keys and values as labels and numbers."""

from __future__ import annotations

import struct
import sys

import pytest

from bpfd.metrics import decode
from bpfd.v1 import objects_pb2


def label(size: int, format: int = 0, **field: bool) -> objects_pb2.MetricLabel:
    return objects_pb2.MetricLabel(
        name="x",
        field=objects_pb2.MetricField(offset=2, size=size, **field),
        format=format,  # type: ignore[arg-type]
        names={1: "one", -1: "minus"} if not format else {},
    )


@pytest.mark.parametrize(
    ("declared", "data", "text"),
    [
        (label(4), struct.pack("=I", 1), "one"),
        (label(4), struct.pack("=I", 2**32 - 1), str(2**32 - 1)),
        (label(4, signed=True), struct.pack("=i", -1), "minus"),
        (label(2, network_order=True), b"\x01\xbb", "443"),
        (label(1), b"\x07", "7"),
        (label(8), struct.pack("=Q", 2**64 - 1), str(2**64 - 1)),
        (label(4, objects_pb2.METRIC_FORMAT_IPV4), b"\x0a\0\0\1", "10.0.0.1"),
        (label(16, objects_pb2.METRIC_FORMAT_IPV6), bytes(15) + b"\1", "::1"),
        (
            label(16, objects_pb2.METRIC_FORMAT_IPV6),
            bytes(10) + b"\xff\xff\x0a\0\0\1",
            "10.0.0.1",
        ),
        (label(6, objects_pb2.METRIC_FORMAT_MAC), b"\2\0\0\0\0\1", "02:00:00:00:00:01"),
        (label(4, objects_pb2.METRIC_FORMAT_TEXT), b"ab\0c", "ab"),
        (label(4, objects_pb2.METRIC_FORMAT_TEXT), b'a\xff\n"', 'a\\xff\n"'),
        (label(3, objects_pb2.METRIC_FORMAT_HEX), b"\0\xab\1", "00ab01"),
    ],
)
def test_labels(declared: objects_pb2.MetricLabel, data: bytes, text: str) -> None:
    assert decode.label(declared)(memoryview(b"??" + data + b"???")) == text


def test_slots_and_their_ends() -> None:
    declared = objects_pb2.MetricHistogram(
        offset=8, slots=4, slot_size=4, sum=objects_pb2.MetricField(size=8)
    )
    data = struct.pack("=Q4I", 99, 1, 2, 3, 4)
    assert decode.slots(declared)(data) == [1, 2, 3, 4, 99]
    assert decode.bounds(declared) == [0, 1, 3]
    declared.ClearField("sum")
    declared.step = 10
    assert decode.slots(declared)(data) == [1, 2, 3, 4, 0]
    assert decode.bounds(declared) == [9, 19, 29]


def test_numbers_are_in_the_order_of_the_machine() -> None:
    field = objects_pb2.MetricField(offset=1, size=2)
    raw = b"?" + (0x1234).to_bytes(2, sys.byteorder)
    assert decode.number(field)(raw) == 0x1234
