# SPDX-License-Identifier: Apache-2.0
"""From bytes of keys and values to labels and numbers, as a declaration says."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from struct import Struct

from bpfd.v1 import objects_pb2

Bytes = bytes | memoryview
Number = Callable[[Bytes], int]
Text = Callable[[Bytes], str]

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_MAPPED = bytes(10) + b"\xff\xff"
"""What IPv4 addresses begin with among those of IPv6 (RFC 4291, section 2.5.5.2)."""


def number(field: objects_pb2.MetricField, at: int = 0) -> Number:
    """Reads a number, `at` bytes further on than the field says."""
    code = _CODES[field.size]
    order = ">" if field.network_order else "<" if sys.byteorder == "little" else ">"
    read = Struct(order + (code if field.signed else code.upper())).unpack_from
    offset = field.offset + at
    return lambda data: int(read(data, offset)[0])


def label(declared: objects_pb2.MetricLabel) -> Text:
    """Reads a label's text out of a key."""
    begin = declared.field.offset
    end = begin + declared.field.size
    match declared.format:
        case objects_pb2.METRIC_FORMAT_IPV4:
            return lambda key: socket.inet_ntop(socket.AF_INET, bytes(key[begin:end]))
        case objects_pb2.METRIC_FORMAT_IPV6:
            return lambda key: _ipv6(bytes(key[begin:end]))
        case objects_pb2.METRIC_FORMAT_MAC:
            return lambda key: bytes(key[begin:end]).hex(":")
        case objects_pb2.METRIC_FORMAT_TEXT:
            return lambda key: text(bytes(key[begin:end]))
        case objects_pb2.METRIC_FORMAT_HEX:
            return lambda key: bytes(key[begin:end]).hex()
    read, names = number(declared.field), dict(declared.names)
    return lambda key: names.get(value := read(key)) or str(value)


def text(data: bytes) -> str:
    """Up to the first NUL; what is not UTF-8 as \\xNN."""
    return data.partition(b"\0")[0].decode(errors="backslashreplace")


def _ipv6(data: bytes) -> str:
    if data.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, data[12:])
    return socket.inet_ntop(socket.AF_INET6, data)


def slots(declared: objects_pb2.MetricHistogram) -> Callable[[Bytes], list[int]]:
    """Reads the counts of a histogram, and its sum as the last number (0: not counted)."""
    code = {4: "I", 8: "Q"}[declared.slot_size]
    read = Struct(f"={declared.slots}{code}").unpack_from
    total = number(declared.sum) if declared.HasField("sum") else None
    offset = declared.offset
    if total is None:
        return lambda data: [*read(data, offset), 0]
    return lambda data: [*read(data, offset), total(data)]


def bounds(declared: objects_pb2.MetricHistogram) -> list[int]:
    """The largest value of each slot but the last, which has no end."""
    if declared.step:
        return [(slot + 1) * declared.step - 1 for slot in range(declared.slots - 1)]
    return [(1 << slot) - 1 for slot in range(declared.slots - 1)]
