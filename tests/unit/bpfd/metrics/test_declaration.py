# SPDX-License-Identifier: Apache-2.0
"""What a load may say of metrics, and what is refused with the field named."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bpfd.errors import InvalidArgument, LimitExceeded
from bpfd.kernel.constants import MapType
from bpfd.metrics import declaration
from bpfd.v1 import objects_pb2

Change = Callable[[objects_pb2.Metric], object]


def counter() -> objects_pb2.Metric:
    return objects_pb2.Metric(
        map="m",
        name="some_bytes",
        unit="bytes",
        type=objects_pb2.METRIC_TYPE_COUNTER,
        value=objects_pb2.MetricField(offset=8, size=8),
        labels=[
            objects_pb2.MetricLabel(
                name="kind", field=objects_pb2.MetricField(size=4), names={1: "one"}
            )
        ],
    )


def histogram() -> objects_pb2.Metric:
    return objects_pb2.Metric(
        map="m",
        name="some_seconds",
        type=objects_pb2.METRIC_TYPE_HISTOGRAM,
        histogram=objects_pb2.MetricHistogram(
            offset=8, slots=4, slot_size=8, sum=objects_pb2.MetricField(size=8)
        ),
    )


def info(**fields: Any) -> Any:
    return SimpleNamespace(**{"type": MapType.HASH, "key_size": 4, "value_size": 40, **fields})


def test_sound_ones_pass() -> None:
    declaration.check([counter(), histogram()])
    for metric in (counter(), histogram()):
        declaration.fit(metric, info())
        declaration.fit(metric, info(type=MapType.PERCPU_ARRAY))


def set_label(**fields: Any) -> Change:
    def change(metric: objects_pb2.Metric) -> None:
        for name, value in fields.items():
            if name == "field":
                metric.labels[0].field.CopyFrom(value)
            else:
                setattr(metric.labels[0], name, value)

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: setattr(m, "name", ""), "metrics[0].name"),
        (lambda m: setattr(m, "name", "a-b"), "metrics[0].name"),
        (lambda m: setattr(m, "name", "a\n_bytes"), "metrics[0].name"),
        (lambda m: setattr(m, "name", "x" * 129), "metrics[0].name"),
        (lambda m: setattr(m, "name", "x_total"), "metrics[0].name"),
        (lambda m: setattr(m, "name", "bpfd_bytes"), "metrics[0].name"),
        (lambda m: setattr(m, "name", "plain"), "metrics[plain].name"),
        (lambda m: setattr(m, "type", 9), "metrics[some_bytes].type"),
        (lambda m: setattr(m, "help", "x" * 513), "metrics[some_bytes].help"),
        (lambda m: setattr(m, "unit", "a b"), "metrics[some_bytes].unit"),
        (lambda m: setattr(m, "factor", -1.0), "metrics[some_bytes].factor"),
        (lambda m: setattr(m, "factor", float("inf")), "metrics[some_bytes].factor"),
        (lambda m: setattr(m.value, "size", 16), "metrics[some_bytes].value"),
        (lambda m: m.ClearField("value"), "metrics[some_bytes].value"),
        (lambda m: setattr(m.histogram, "slots", 3), "metrics[some_bytes].histogram"),
        (set_label(name="a-b"), "metrics[some_bytes].labels[0].name"),
        (set_label(name="object"), "metrics[some_bytes].labels[0].name"),
        (set_label(name="le"), "metrics[some_bytes].labels[0].name"),
        (set_label(name="__x"), "metrics[some_bytes].labels[0].name"),
        (set_label(format=77), "metrics[some_bytes].labels[0].format"),
        (
            set_label(format=objects_pb2.METRIC_FORMAT_IPV6),
            "metrics[some_bytes].labels[0].field",
        ),
        (
            set_label(
                format=objects_pb2.METRIC_FORMAT_TEXT, field=objects_pb2.MetricField(size=257)
            ),
            "metrics[some_bytes].labels[0].field",
        ),
        (
            lambda m: m.labels[0].names.update(dict.fromkeys(range(257), "x")),
            "metrics[some_bytes].labels[0].names",
        ),
        (
            lambda m: m.labels[0].names.update({1: "x" * 65}),
            "metrics[some_bytes].labels[0].names",
        ),
        (lambda m: m.labels.extend([m.labels[0]]), "metrics[some_bytes].labels[1].name"),
        (lambda m: m.labels.extend([m.labels[0]] * 8), "metrics[some_bytes].labels"),
    ],
)
def test_what_is_wrong_is_named(change: Change, field: str) -> None:
    metric = counter()
    change(metric)
    with pytest.raises(InvalidArgument) as raised:
        declaration.check([metric])
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: setattr(m.histogram, "slots", 1), "slots"),
        (lambda m: setattr(m.histogram, "slots", 257), "slots"),
        (lambda m: setattr(m.histogram, "slots", 66), "slots"),
        (lambda m: setattr(m.histogram, "slot_size", 2), "slot_size"),
        (lambda m: setattr(m.histogram.sum, "size", 3), "sum"),
    ],
)
def test_histograms_that_are_none(change: Change, field: str) -> None:
    metric = histogram()
    change(metric)
    with pytest.raises(InvalidArgument) as raised:
        declaration.check([metric])
    assert raised.value.field == f"metrics[some_seconds].histogram.{field}"


def test_names_twice_and_too_many() -> None:
    with pytest.raises(InvalidArgument, match="two metrics of that name"):
        declaration.check([counter(), counter()])
    many = [counter() for _ in range(65)]
    for index, metric in enumerate(many):
        metric.name = f"a{index}_bytes"
    with pytest.raises(LimitExceeded):
        declaration.check(many)


@pytest.mark.parametrize(
    ("metric", "found", "field"),
    [
        (counter(), None, "map"),
        (counter(), info(type=MapType.RINGBUF), "map"),
        (counter(), info(type=MapType.LPM_TRIE), "map"),
        (counter(), info(key_size=3), "labels[0].field"),
        (counter(), info(value_size=15), "value"),
        (histogram(), info(value_size=39), "histogram"),
    ],
)
def test_fields_lie_within_the_map(metric: Any, found: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        declaration.fit(metric, found)
    assert raised.value.field == f"metrics[{metric.name}].{field}"


def test_offsets_do_not_wrap() -> None:
    metric = counter()
    metric.value.offset = 2**32 - 4
    with pytest.raises(InvalidArgument):
        declaration.fit(metric, info())
