# SPDX-License-Identifier: Apache-2.0
"""Variables of libxdp's dispatchers."""

from __future__ import annotations

import struct

from bpfd.attach.xdp_occupied import Slot, dispatcher_slots

_BITS = [1 << 2 | 1 << 31, 1 << 1 | 1 << 3] + [0] * 8
_PRIORITIES = [10, 50] + [0] * 8
_SLOTS = [Slot(10, (2,)), Slot(50, (1, 3))]


def test_the_second_version() -> None:
    data = struct.pack("=BBBB10I10I10I", 236, 2, 2, 1, *_BITS, *_PRIORITIES, *[0] * 10)
    assert dispatcher_slots(data) == _SLOTS


def test_the_first_version() -> None:
    data = struct.pack("=B3x10I10I", 2, *_BITS, *_PRIORITIES)
    assert dispatcher_slots(data) == _SLOTS


def test_what_is_none() -> None:
    assert dispatcher_slots(b"") == []
    assert dispatcher_slots(bytes(40)) == []
    assert len(dispatcher_slots(b"\xff" * 84)) == 10
