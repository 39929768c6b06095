# SPDX-License-Identifier: Apache-2.0
"""Answers of rtnetlink, as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from bpfd.kernel import rtnetlink, tc

INGRESS = 0xFFFFFFF2


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def answer(handle: int, priority: int, kind: bytes, options: bytes) -> bytes:
    head = struct.pack("=BxxxiIII", 0, 3, handle, INGRESS, priority << 16 | 0x300)
    return head + attribute(1, kind + b"\0") + attribute(2 | 0x8000, options)


def test_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        answer(0, 10, b"bpf", b""),
        answer(7, 10, b"bpf", attribute(7, b"name\0") + attribute(11, struct.pack("=I", 99))),
        answer(1, 20, b"matchall", attribute(11, struct.pack("=I", 5))),
    ]

    def dump(*_: object) -> Iterator[bytes]:
        yield from answers

    monkeypatch.setattr(rtnetlink, "dump", dump)
    assert tc.filters(3, tc.INGRESS) == [
        tc.Filter("bpf", 7, 10, 99),
        tc.Filter("matchall", 1, 20, 0),
    ]
    assert tc.filters(3, tc.EGRESS) == []


def test_attributes_that_lie_about_their_length() -> None:
    for data in (b"\0\0\0\0", b"\x03\0\x01\0", b"\xff\xff\x01\0ab"):
        assert len(list(rtnetlink.attributes(data))) <= 1
