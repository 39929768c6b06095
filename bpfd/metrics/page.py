# SPDX-License-Identifier: Apache-2.0
"""The page in OpenMetrics text, written by prometheus_client. Imported when it is asked for."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfd.errors import NotSupported
from bpfd.metrics import decode
from bpfd.metrics.collect import Read
from bpfd.v1 import objects_pb2

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


Samples = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class Own:
    """A metric of the daemon itself: samples by the texts of its labels."""

    name: str
    type: str
    help: str
    labels: Sequence[str]
    samples: Samples
    unit: str = ""


class _Families:
    """What prometheus_client takes for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def text(reads: Iterable[Read], own: Iterable[Own]) -> bytes:
    """The page. Reads of one name have the same type, unit and labels. Raises
    NotSupported where prometheus_client is missing."""
    library = load()
    families: dict[str, Metric] = {}
    for each in own:
        family = library.families[each.type](
            each.name, each.help, labels=list(each.labels), unit=each.unit
        )
        families[each.name] = family
        for values, value in each.samples.items():
            family.add_metric(list(values), value)
    for found in reads:
        metric = found.metric
        if metric.name not in families:
            families[metric.name] = library.families[metric.type](
                metric.name, metric.help, labels=["object", *found.labels], unit=metric.unit
            )
        _add(families[metric.name], found)
    page: bytes = library.generate(_Families(families.values()))
    return page


def _add(family: Any, found: Read) -> None:
    metric = found.metric
    factor = metric.factor or 1.0
    for texts, numbers in found.values.items():
        labels = [found.owner, *texts]
        if metric.type == objects_pb2.METRIC_TYPE_HISTOGRAM:
            total = _scaled(numbers[-1], factor) if metric.histogram.HasField("sum") else None
            family.add_metric(labels, _buckets(metric.histogram, numbers, factor), total)
        else:
            family.add_metric(labels, _scaled(numbers[0], factor))


def _buckets(
    histogram: objects_pb2.MetricHistogram, numbers: list[int], factor: float
) -> list[tuple[str, int]]:
    """(upper bound, values up to it): slots hold whole numbers, so that the largest one of a
    slot is the bound."""
    ends = [repr(float(_scaled(each, factor))) for each in decode.bounds(histogram)]
    counts = itertools.accumulate(numbers[: histogram.slots])
    return list(zip([*ends, "+Inf"], counts, strict=True))


def _scaled(value: int, factor: float) -> float:
    """Twelve digits where it is no whole number: 0.000255, not 0.00025499999999999996."""
    return value if factor == 1.0 else float(f"{value * factor:.12g}")


@dataclass(frozen=True)
class Library:
    """What is used of prometheus_client."""

    families: Mapping[Any, Any]
    """Classes by type, in words and as the API has it."""
    generate: Any


@functools.cache
def load() -> Library:
    """Imports the two modules that are needed. Raises NotSupported.

    The package itself imports all of its modules, servers and TLS among them, which are not in
    the daemon's bundle. So it stands for its modules without having been run.
    """
    try:
        if "prometheus_client" not in sys.modules:
            spec = importlib.util.find_spec("prometheus_client")
            if spec is None:
                raise ImportError("no module named prometheus_client")
            sys.modules["prometheus_client"] = importlib.util.module_from_spec(spec)
        from prometheus_client import metrics_core
        from prometheus_client.openmetrics import exposition
    except ImportError as error:
        raise NotSupported(
            "metrics", needs=f"the Python package prometheus_client on the target ({error})"
        ) from None
    counter, gauge = metrics_core.CounterMetricFamily, metrics_core.GaugeMetricFamily
    families = {
        "counter": counter,
        "gauge": gauge,
        objects_pb2.METRIC_TYPE_COUNTER: counter,
        objects_pb2.METRIC_TYPE_GAUGE: gauge,
        objects_pb2.METRIC_TYPE_HISTOGRAM: metrics_core.HistogramMetricFamily,
    }
    # Names are checked when they are declared: escaping them would take most of the time.
    generate = functools.partial(exposition.generate_latest, escaping=exposition.ALLOWUTF8)
    return Library(families, generate)
