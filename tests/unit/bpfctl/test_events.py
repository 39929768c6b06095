# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import pytest
from bpfctl.errors import CallFailed
from bpfctl.events import LossCounter, Losses, records
from bpfctl.wire import EventBatch


def batch(sequence: int, count: int, *, kernel: int = 0, daemon: int = 0) -> EventBatch:
    return EventBatch(sequence=sequence, count=count, lost_kernel=kernel, lost_daemon=daemon)


def test_nothing_is_lost_when_numbers_follow() -> None:
    counter = LossCounter()
    counter.add(batch(0, 5))
    counter.add(batch(5, 3))
    assert (counter.received, counter.losses) == (8, Losses())


def test_gap_that_the_daemon_counted_is_the_daemons() -> None:
    counter = LossCounter()
    counter.add(batch(0, 5))
    counter.add(batch(9, 3, daemon=4, kernel=2))
    assert counter.losses == Losses(kernel=2, daemon=4, network=0)
    assert counter.losses.total == 6


def test_gap_beyond_the_daemons_count_is_the_networks() -> None:
    counter = LossCounter()
    counter.add(batch(0, 5))
    counter.add(batch(15, 3, daemon=4))
    assert counter.losses == Losses(daemon=4, network=6)
    assert counter.received + counter.losses.total == 18


def test_records_that_come_twice_are_refused() -> None:
    counter = LossCounter()
    counter.add(batch(0, 5))
    with pytest.raises(CallFailed, match="twice"):
        counter.add(batch(4, 5))


def framed(*bodies: bytes, order: str = "<") -> bytes:
    return b"".join(
        struct.pack(order + "II", len(body), 0) + body.ljust((len(body) + 7) // 8 * 8, b"\0")
        for body in bodies
    )


def test_records_of_one_size() -> None:
    data = memoryview(framed(b"abcde", b"fghij", b"klmno"))
    found = records(EventBatch(count=3, record_size=5, data=data))
    assert [bytes(record) for record in found] == [b"abcde", b"fghij", b"klmno"]


@pytest.mark.parametrize(("order", "byteorder"), [("<", "little"), (">", "big")])
def test_records_of_any_size(order: str, byteorder: str) -> None:
    data = memoryview(framed(b"abc", b"", b"0123456789", order=order))
    found = records(EventBatch(count=3, data=data), byteorder)  # type: ignore[arg-type]
    assert [bytes(record) for record in found] == [b"abc", b"", b"0123456789"]
