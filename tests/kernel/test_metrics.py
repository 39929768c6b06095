# SPDX-License-Identifier: Apache-2.0
"""Metrics of a daemon: what the page says is what the maps hold, whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bpfd.metrics.collect import MAX_SAMPLES
from bpfd.v1 import common_pb2, maps_pb2, objects_pb2, target_pb2
from bpfd.v1.target_pb2_grpc import TargetStub
from tests.kernel.api import PINNED, Api, eventually, map_ref, refused
from tests.kernel.conftest import MakeDaemon, RunningDaemon, SharedDaemon

HASH = struct.Struct("=I4s16sQ")
"""Key: number, IPv4 address, text; and the value."""

KEY_BYTES = 24


def labels() -> list[objects_pb2.MetricLabel]:
    field, label = objects_pb2.MetricField, objects_pb2.MetricLabel
    return [
        label(name="number", field=field(size=4), names={7: "seven"}),
        label(
            name="address",
            field=field(offset=4, size=4),
            format=objects_pb2.METRIC_FORMAT_IPV4,
        ),
        label(
            name="text", field=field(offset=8, size=16), format=objects_pb2.METRIC_FORMAT_TEXT
        ),
    ]


def packets(**fields: Any) -> objects_pb2.Metric:
    found = objects_pb2.Metric(
        map="table",
        name="test_packets",
        type=objects_pb2.METRIC_TYPE_COUNTER,
        help='Packets, "all" of them\nof course \\ yes.',
        labels=labels(),
        value=objects_pb2.MetricField(size=8),
    )
    for name, value in fields.items():
        if isinstance(value, str | int | float):
            setattr(found, name, value)
        else:
            getattr(found, name).CopyFrom(value)
    return found


def latencies() -> objects_pb2.Metric:
    """Microseconds per CPU: the sum, then eight slots."""
    return objects_pb2.Metric(
        map="cpus",
        name="test_latency_seconds",
        type=objects_pb2.METRIC_TYPE_HISTOGRAM,
        help="Times.",
        unit="seconds",
        factor=1e-6,
        labels=[objects_pb2.MetricLabel(name="queue", field=objects_pb2.MetricField(size=4))],
        histogram=objects_pb2.MetricHistogram(
            offset=8, slots=8, slot_size=8, sum=objects_pb2.MetricField(size=8)
        ),
    )


def spec(entries: int = 64, **maps: Any) -> objects_pb2.ObjectSpec:
    table = objects_pb2.MapSpec(
        name="table",
        type=common_pb2.MAP_TYPE_HASH,
        key_size=KEY_BYTES,
        value_size=8,
        max_entries=entries,
        **maps,
    )
    cpus = objects_pb2.MapSpec(
        name="cpus",
        type=common_pb2.MAP_TYPE_PERCPU_ARRAY,
        key_size=4,
        value_size=72,
        max_entries=2,
    )
    return objects_pb2.ObjectSpec(maps=[table, cpus])


def load(
    api: Api, name: str, *metrics: objects_pb2.Metric, entries: int = 64, **fields: Any
) -> objects_pb2.Object:
    request = objects_pb2.LoadRequest(
        name=name, lifetime=PINNED, spec=spec(entries), metrics=metrics, **fields
    )
    return api.objects.Load(request).object


def put(api: Api, where: str, *rows: tuple[int, str, bytes, int]) -> None:
    keys, values = b"", b""
    for number, address, text, value in rows:
        raw = HASH.pack(number, socket.inet_aton(address), text, value)
        keys, values = keys + raw[:KEY_BYTES], values + raw[KEY_BYTES:]
    api.maps.Update(maps_pb2.UpdateRequest(map=map_ref(where), keys=keys, values=values))


@pytest.fixture(scope="module")
def of_module() -> Iterator[SharedDaemon]:
    with contextlib.ExitStack() as undo:
        yield SharedDaemon(undo)


@pytest.fixture
def daemon(of_module: SharedDaemon) -> RunningDaemon:
    """One for all of these tests: a start takes longer than most of them."""
    return of_module.running()


@pytest.fixture
def api(channel: grpc.Channel) -> Iterator[Api]:
    found = Api(channel)
    before = set(found.object_names())
    yield found
    for name in set(found.object_names()) - before:
        found.unload(name)


def page(channel: grpc.Channel) -> str:
    chunks = TargetStub(channel).GetMetrics(target_pb2.GetMetricsRequest())
    return b"".join(chunk.data for chunk in chunks).decode()


def families(text: str) -> dict[str, Any]:
    """What the parser of prometheus_client makes of the page."""
    assert text.endswith("# EOF\n")
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(text: str, family: str) -> dict[tuple[str, ...], float]:
    """Values by the labels' values in the order of their names, without "object"."""
    return {
        tuple(
            value for name, value in sorted(each.labels.items()) if name != "object"
        ): each.value
        for each in families(text)[family].samples
    }


def test_counters_are_what_the_map_holds(api: Api, viewer_channel: grpc.Channel) -> None:
    load(api, "m-one", packets())
    ugly = b'a"b\nc\\d\xff\xc3\xa4\0rest'
    put(api, "m-one/table", (7, "10.0.0.1", b"plain", 3), (8, "10.0.0.2", ugly, 2**40))
    text = page(viewer_channel)
    found = families(text)["test_packets"]
    assert found.type == "counter"
    assert found.documentation == 'Packets, "all" of them\nof course \\ yes.'
    assert {each.name for each in found.samples} == {"test_packets_total"}
    assert {each.labels["object"] for each in found.samples} == {"m-one"}
    assert samples(text, "test_packets") == {
        ("10.0.0.1", "seven", "plain"): 3,
        ("10.0.0.2", "8", 'a"b\nc\\d\\xffä'): 2**40,
    }


def test_a_histogram_adds_up_the_cpus_and_is_cumulative(
    api: Api, channel: grpc.Channel
) -> None:
    load(api, "m-two", latencies())
    info = api.maps.Get(maps_pb2.GetMapRequest(map=map_ref("m-two/cpus")))
    one = struct.pack("=9Q", 1000, 1, 2, 0, 0, 5, 0, 0, 7)
    values = (one * info.percpu_count) + bytes(72) * info.percpu_count
    keys = struct.pack("=II", 0, 1)
    api.maps.Update(maps_pb2.UpdateRequest(map=map_ref("m-two/cpus"), keys=keys, values=values))
    found = families(page(channel))["test_latency_seconds"]
    assert (found.type, found.unit) == ("histogram", "seconds")
    of_first = [each for each in found.samples if each.labels["queue"] == "0"]
    buckets = [(each.labels["le"], each.value) for each in of_first if "le" in each.labels]
    cpus = info.percpu_count
    ends = ["0.0", "1e-06", "3e-06", "7e-06", "1.5e-05", "3.1e-05", "6.3e-05", "+Inf"]
    counts = itertools.accumulate(each * cpus for each in (1, 2, 0, 0, 5, 0, 0, 7))
    assert buckets == list(zip(ends, counts, strict=True))
    rest = {each.name: each.value for each in of_first if "le" not in each.labels}
    assert rest["test_latency_seconds_count"] == 15 * cpus
    assert rest["test_latency_seconds_sum"] == pytest.approx(0.001 * cpus)


def test_entries_with_the_same_labels_are_added_up(api: Api, channel: grpc.Channel) -> None:
    metric = packets()
    del metric.labels[1:]
    metric.type = objects_pb2.METRIC_TYPE_GAUGE
    load(api, "m-sum", metric)
    rows = [(number % 2, "10.0.0.1", b"%d" % number, number) for number in range(10)]
    put(api, "m-sum/table", *rows)
    assert samples(page(channel), "test_packets") == {("0",): 20, ("1",): 25}


def test_a_hundred_thousand_keys_are_bounded(api: Api, channel: grpc.Channel) -> None:
    count = 100_000
    load(api, "m-many", packets(), entries=count)
    address = socket.inet_aton("10.0.0.1")
    for begin in range(0, count, 20_000):
        raw = [HASH.pack(n, address, b"", 1) for n in range(begin, begin + 20_000)]
        api.maps.Update(
            maps_pb2.UpdateRequest(
                map=map_ref("m-many/table"),
                keys=b"".join(each[:KEY_BYTES] for each in raw),
                values=b"".join(each[KEY_BYTES:] for each in raw),
            )
        )
    text = page(channel)
    assert text.count("\ntest_packets_total{") == MAX_SAMPLES
    (left,) = families(text)["bpfd_metrics_left_out"].samples
    assert left.labels == {"object": "m-many", "metric": "test_packets"}
    assert left.value == count - MAX_SAMPLES


def test_what_goes_vanishes_and_replacements_bring_their_own(
    api: Api, channel: grpc.Channel
) -> None:
    load(api, "m-gone", packets())
    put(api, "m-gone/table", (1, "10.0.0.1", b"x", 5))
    assert samples(page(channel), "test_packets") == {("10.0.0.1", "1", "x"): 5}
    load(api, "m-gone", packets(name="test_frames", help="Frames."), replace=True)
    text = page(channel)
    assert "test_packets" not in text
    # Its maps stay.
    assert samples(text, "test_frames") == {("10.0.0.1", "1", "x"): 5}
    load(api, "m-gone", replace=True)
    assert "test_" not in page(channel)
    load(api, "m-gone", packets(), replace=True)
    api.unload("m-gone")
    assert "test_" not in page(channel)


def test_objects_of_one_kind_share_a_family(api: Api, channel: grpc.Channel) -> None:
    for name, value in (("m-a", 1), ("m-b", 2)):
        load(api, name, packets())
        put(api, f"{name}/table", (1, "10.0.0.1", b"x", value))
    text = page(channel)
    assert text.count("# TYPE test_packets counter") == 1
    found = families(text)["test_packets"].samples
    assert {each.labels["object"]: each.value for each in found} == {"m-a": 1, "m-b": 2}
    other = packets(type=objects_pb2.METRIC_TYPE_GAUGE)
    with refused("invalid_argument") as said:
        load(api, "m-c", other)
    assert said.detail.field == "metrics[test_packets].type"
    del other.labels[:]
    other.type = objects_pb2.METRIC_TYPE_COUNTER
    with refused("invalid_argument") as said:
        load(api, "m-c", other)
    assert said.detail.field == "metrics[test_packets].labels"
    assert "m-c" not in api.object_names()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"map": "nothing"}, "metrics[test_packets].map"),
        ({"name": "1x"}, "metrics[0].name"),
        ({"name": "bpfd_calls"}, "metrics[0].name"),
        ({"type": 0}, "metrics[test_packets].type"),
        ({"value": objects_pb2.MetricField(offset=4, size=8)}, "metrics[test_packets].value"),
        ({"value": objects_pb2.MetricField(size=3)}, "metrics[test_packets].value"),
        ({"factor": float("nan")}, "metrics[test_packets].factor"),
    ],
)
def test_malformed_declarations_are_refused_by_field(
    api: Api, change: dict[str, Any], field: str
) -> None:
    with refused("invalid_argument") as said:
        load(api, "m-bad", packets(**change))
    assert said.detail.field == field
    assert "m-bad" not in api.object_names()


def test_a_refused_replacement_leaves_the_old_one(api: Api, channel: grpc.Channel) -> None:
    load(api, "m-old", packets())
    put(api, "m-old/table", (1, "10.0.0.1", b"x", 5))
    with refused("invalid_argument"):
        load(api, "m-old", packets(map="nothing"), replace=True)
    assert samples(page(channel), "test_packets") == {("10.0.0.1", "1", "x"): 5}


def test_scrapes_while_objects_come_and_go(api: Api, channel: grpc.Channel) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def scrape() -> None:
        try:
            while not done.is_set():
                families(page(channel))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            load(api, "m-race", packets(), latencies())
            api.unload("m-race")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert "test_" not in page(channel)


def test_metrics_outlive_the_daemon(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        load(api, "m-pinned", packets())
        put(api, "m-pinned/table", (7, "10.0.0.1", b"x", 9))
    daemon.kill()
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        try:
            text = page(channel)
            assert samples(text, "test_packets") == {("10.0.0.1", "seven", "x"): 9}
            (held,) = api.objects.List(objects_pb2.ListObjectsRequest()).objects
            assert list(held.metrics) == [packets()]
        finally:
            api.unload("m-pinned")


def test_the_daemons_own(api: Api, channel: grpc.Channel) -> None:
    with refused("not_found"):
        api.unload("nothing-of-that-name")
    load(api, "m-own")
    text = page(channel)
    calls = samples(text, "bpfd_calls")
    assert calls["Objects.Load", "ok"] >= 1
    assert calls["Objects.Unload", "NOT_FOUND"] >= 1
    assert samples(text, "bpfd_held")["object",] == len(api.object_names())
    assert eventually(
        lambda: ("Target.GetMetrics", "ok") in samples(page(channel), "bpfd_calls")
    )


def get(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str, str]:
    """(status, content type, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def test_the_port(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon("--metrics", "127.0.0.1:0")
    daemon.start()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", daemon.ready)
    assert found
    port = int(found[1])
    status, content, text = get(port)
    assert status == 200
    assert content.startswith("application/openmetrics-text; version=1.0.0")
    assert families(text)["bpfd_build"].samples[0].value == 1
    assert get(port, method="HEAD") == (200, content, "")
    assert get(port, "/other")[0] == 404
    assert get(port, method="POST")[0] == 405
    for garbage in (b"\x16\x03\x01 nonsense\r\n\r\n", b"GET /metrics\r\n\r\n", b"x" * 20_000):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(garbage)
            # Reset: it had more to say than is read.
            with contextlib.suppress(ConnectionResetError):
                assert b"200" not in connection.recv(64)
    # Who says nothing keeps nobody else waiting.
    with socket.create_connection(("127.0.0.1", port)):
        assert get(port)[0] == 200
    other = make_daemon("--metrics", f"127.0.0.1:{port}")
    with pytest.raises(AssertionError, match=r"cannot listen on 127\.0\.0\.1") as raised:
        other.start()
    assert "ddress already in use" in str(raised.value)
    assert get(port)[0] == 200


def test_a_port_that_others_could_reach_is_refused(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon("--metrics", "0.0.0.0:0")
    with pytest.raises(AssertionError, match="others can reach"):
        daemon.start()
    allowed = make_daemon("--metrics", "[::]:0", "--metrics-everywhere")
    allowed.start()
    assert "http://[::]:" in allowed.ready


def test_viewers_may_look(viewer_channel: grpc.Channel) -> None:
    assert "bpfd_build" in page(viewer_channel)
