# SPDX-License-Identifier: Apache-2.0
"""Package ddos: what the events say, how many there are, and what is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.kernel import packets as p
from tests.kernel.ddos_filter import LISTS, TCP6, UDP4, Filter, Filters
from tests.kernel.loaded_package import RingReader

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading XDP programs needs root"),
]


@pytest.fixture(scope="module")
def filters() -> Iterator[Filters]:
    with Filters() as loaded:
        yield loaded


@pytest.fixture
def own() -> Iterator[Filters]:
    """For filters that only one test needs."""
    with Filters() as loaded:
        yield loaded


@pytest.fixture(scope="module")
def each(filters: Filters) -> Filter:
    """Every drop is an event."""
    return filters.load(sample_every="1", events_bytes="65536")


@pytest.fixture
def reader(each: Filter) -> Iterator[RingReader]:
    each.package.clear(*LISTS)
    with closing(RingReader(each.package, "drops")) as ring:
        ring.take()
        yield ring


def test_an_event_says_what_was_dropped_and_why(each: Filter, reader: RingReader) -> None:
    each.package.set("block_v4", "10.1.0.0/16", "4711")
    packet = p.ethernet(p.IPV4, UDP4[14:], [(p.VLAN, 0x2000 | 100), (p.VLAN, 7)])
    each.expect(packet, "BLOCKED_SOURCE_V4")
    (event,) = reader.take()
    assert event.pop("time_ns") > 0
    assert event.pop("ifindex") > 0
    assert event == {
        "source": p.SOURCE,
        "destination": p.DESTINATION,
        "source_port": 1000,
        "destination_port": 53,
        "reason": "BLOCKED_SOURCE_V4",
        "length": len(packet),
        "rule": 4711,
        "ip_version": 4,
        "protocol": p.UDP,
        "vlan": 100,
    }


def test_an_event_of_ipv6(each: Filter, reader: RingReader) -> None:
    each.package.set("ports", "protocol=6 port=80", "PORT_BLOCKED")
    each.expect(TCP6, "BLOCKED_PORT")
    (event,) = reader.take()
    assert event["source"] == p.SOURCE6
    assert event["destination"] == p.DESTINATION6
    assert (event["source_port"], event["destination_port"]) == (1000, 80)
    assert (event["ip_version"], event["protocol"], event["rule"]) == (6, p.TCP, 0)


def test_an_event_of_a_packet_without_addresses(each: Filter, reader: RingReader) -> None:
    each.expect(UDP4[:20], "MALFORMED")
    (event,) = reader.take()
    assert (event["reason"], event["ip_version"], event["length"]) == ("MALFORMED", 0, 20)
    assert event["source"] == "::"


def test_packets_that_pass_are_no_events(each: Filter, reader: RingReader) -> None:
    each.expect(UDP4, "PASSED")
    assert reader.take() == []


def test_events_that_find_the_ring_full_are_counted(each: Filter, reader: RingReader) -> None:
    each.package.set("block_v4", "10.1.0.0/16", "1")
    lost_before = each.package.get("drops_lost", "0")
    for _ in range(2000):
        each.package.run("ddos", UDP4)
    events = reader.take()
    lost = each.package.get("drops_lost", "0") - lost_before
    assert len(events) + lost == 2000
    # A record takes 72 bytes with its header, and the ring is never filled to the brim.
    assert 0 <= 65536 - 72 * len(events) <= 144


def test_one_event_for_every_so_many_drops_of_a_cpu(own: Filters) -> None:
    ddos = own.load(sample_every="3")
    ddos.package.set("block_v4", "10.1.0.0/16", "1")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with closing(RingReader(ddos.package, "drops")) as ring:
            for _ in range(10):
                ddos.expect(UDP4, "BLOCKED_SOURCE_V4")
            assert len(ring.take()) == 3
    finally:
        os.sched_setaffinity(0, allowed)


def test_no_events_when_sampling_is_off(own: Filters) -> None:
    ddos = own.load(sample_every="0")
    with closing(RingReader(ddos.package, "drops")) as ring:
        ddos.expect(UDP4[:30], "MALFORMED")
        assert ring.take() == []
        assert ddos.package.get("drops_lost", "0") == 0
