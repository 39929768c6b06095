# SPDX-License-Identifier: Apache-2.0
"""Numbers of a subscription."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from bpfd.errors import InvalidArgument, LimitExceeded
from bpfd.events.settings import Settings, validate
from bpfd.v1.events_pb2 import SubscribeRequest


def test_what_is_not_said_has_a_default() -> None:
    assert validate(SubscribeRequest()) == Settings(0.02, 64 << 20, 1 << 20, 64)


def test_what_is_said_counts() -> None:
    request = SubscribeRequest(
        poll_interval=Duration(nanos=5_000_000), queue_bytes=1, batch_bytes=5000, perf_pages=4
    )
    assert validate(request) == Settings(0.005, 1, 5000, 4)


@pytest.mark.parametrize(
    "interval", [Duration(), Duration(nanos=999_999), Duration(seconds=3601)]
)
def test_intervals_have_bounds(interval: Duration) -> None:
    with pytest.raises(InvalidArgument, match="poll_interval"):
        validate(SubscribeRequest(poll_interval=interval))


def test_sizes_have_bounds() -> None:
    for request in (
        SubscribeRequest(queue_bytes=(1 << 30) + 1),
        SubscribeRequest(batch_bytes=(16 << 20) + 1),
        SubscribeRequest(perf_pages=1 << 20),
    ):
        with pytest.raises(LimitExceeded):
            validate(request)
    with pytest.raises(InvalidArgument, match="less than 4096"):
        validate(SubscribeRequest(batch_bytes=4095))
    with pytest.raises(InvalidArgument, match="power of two"):
        validate(SubscribeRequest(perf_pages=6))
