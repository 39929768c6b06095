# SPDX-License-Identifier: Apache-2.0
"""The page: text that the parsers of prometheus_client take."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bpfd.errors import NotSupported
from bpfd.metrics import page
from bpfd.metrics.collect import Read
from bpfd.v1 import objects_pb2

LABEL = objects_pb2.MetricLabel(name="text")


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 2**50))
def test_any_text_comes_back(label: str, help: str, value: int) -> None:
    metric = objects_pb2.Metric(
        name="a", type=objects_pb2.METRIC_TYPE_GAUGE, help=help, labels=[LABEL]
    )
    found = page.text([Read("o", metric, {(label,): [value]})], [])
    (family,) = text_string_to_metric_families(found.decode())
    (sample,) = family.samples
    assert sample.labels == {"object": "o", "text": label}
    assert sample.value == value


@given(st.lists(st.integers(0, 2**40), min_size=3, max_size=64), st.integers(0, 1000))
def test_buckets_are_cumulative(counts: list[int], step: int) -> None:
    metric = objects_pb2.Metric(
        name="a_seconds",
        unit="seconds",
        factor=1e-6,
        type=objects_pb2.METRIC_TYPE_HISTOGRAM,
        histogram=objects_pb2.MetricHistogram(
            slots=len(counts), step=step, sum=objects_pb2.MetricField(size=8)
        ),
    )
    text = page.text([Read("o", metric, {(): [*counts, 12345]})], []).decode()
    # The parser itself refuses buckets that are not in order or not cumulative.
    (family,) = text_string_to_metric_families(text)
    values = [each.value for each in family.samples if each.name.endswith("_bucket")]
    assert values == [sum(counts[: end + 1]) for end in range(len(counts))]
    rest = {
        each.name: each.value for each in family.samples if not each.name.endswith("_bucket")
    }
    assert rest == {"a_seconds_count": sum(counts), "a_seconds_sum": pytest.approx(0.012345)}


def test_without_a_sum_there_is_none() -> None:
    metric = objects_pb2.Metric(
        name="a",
        type=objects_pb2.METRIC_TYPE_HISTOGRAM,
        histogram=objects_pb2.MetricHistogram(slots=2),
    )
    text = page.text([Read("o", metric, {(): [1, 2, 0]})], []).decode()
    assert "a_sum" not in text
    assert list(text_string_to_metric_families(text))


def test_its_own_metrics() -> None:
    own = page.Own("bpfd_x_seconds", "counter", "X.", ("a",), {("1",): 2.5}, unit="seconds")
    text = page.text([], [own]).decode()
    assert text == (
        "# HELP bpfd_x_seconds X.\n# TYPE bpfd_x_seconds counter\n"
        '# UNIT bpfd_x_seconds seconds\nbpfd_x_seconds_total{a="1"} 2.5\n# EOF\n'
    )


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("prometheus_client.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    page.load.cache_clear()
    try:
        with pytest.raises(NotSupported, match="metrics"):
            page.load()
    finally:
        page.load.cache_clear()
