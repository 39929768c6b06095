# SPDX-License-Identifier: Apache-2.0
"""Whether what a load says of metrics can be shown; nothing here reads a map."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from bpfd.errors import InvalidArgument, LimitExceeded
from bpfd.kernel.constants import MapType
from bpfd.kernel.info import MapInfo
from bpfd.v1 import objects_pb2

MAX_METRICS, MAX_LABELS, MAX_NAMES = 64, 8, 256
MAX_NAME, MAX_LABEL, MAX_HELP, MAX_TEXT = 128, 64, 512, 256
MAX_SLOTS = 256
OWN = "bpfd_"
"""What names of the daemon's own metrics begin with."""

MAPS = frozenset(
    {
        *(MapType.HASH, MapType.ARRAY, MapType.LRU_HASH),
        *(MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH),
    }
)
"""Maps that are read for metrics."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNIT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum", "_info", "_gsum", "_gcount")
"""Of samples; a family must not end so (OpenMetrics 1.0, section "Suffixes")."""

_NUMBERS = (1, 2, 4, 8)
_SIZES = {
    objects_pb2.METRIC_FORMAT_UNSPECIFIED: _NUMBERS,
    objects_pb2.METRIC_FORMAT_IPV4: (4,),
    objects_pb2.METRIC_FORMAT_IPV6: (16,),
    objects_pb2.METRIC_FORMAT_MAC: (6,),
    objects_pb2.METRIC_FORMAT_TEXT: range(1, MAX_TEXT + 1),
    objects_pb2.METRIC_FORMAT_HEX: range(1, MAX_TEXT + 1),
}
_TYPES = (
    objects_pb2.METRIC_TYPE_COUNTER,
    objects_pb2.METRIC_TYPE_GAUGE,
    objects_pb2.METRIC_TYPE_HISTOGRAM,
)


def check(metrics: Iterable[objects_pb2.Metric]) -> None:
    """Raises InvalidArgument that names the metric and the field, or LimitExceeded."""
    seen = set()
    for number, metric in enumerate(metrics):
        if number >= MAX_METRICS:
            raise LimitExceeded("number of metrics of an object", MAX_METRICS)
        _check_name(metric, number)
        where = f"metrics[{metric.name}]"
        if metric.name in seen:
            raise InvalidArgument(f"{where}.name", "there are two metrics of that name")
        seen.add(metric.name)
        _check_text(where, metric)
        _check_labels(where, metric)
        if metric.type == objects_pb2.METRIC_TYPE_HISTOGRAM:
            _check_histogram(where, metric)
        else:
            if metric.HasField("histogram"):
                raise InvalidArgument(f"{where}.histogram", "the type is no histogram")
            _check_number(f"{where}.value", metric.value)


def _check_name(metric: objects_pb2.Metric, number: int) -> None:
    name, where = metric.name, f"metrics[{number}].name"
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise InvalidArgument(
            where,
            f"{name[:MAX_NAME]!r}: 1 to {MAX_NAME} letters, digits, '_' and ':' are a name",
        )
    if name.startswith(OWN):
        raise InvalidArgument(where, f"{name}: {OWN}... are the daemon's own")
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            raise InvalidArgument(where, f"{name}: {suffix} is a suffix of OpenMetrics' own")


def _check_text(where: str, metric: objects_pb2.Metric) -> None:
    if metric.type not in _TYPES:
        raise InvalidArgument(f"{where}.type", "is no counter, gauge or histogram")
    if len(metric.help.encode()) > MAX_HELP:
        raise InvalidArgument(f"{where}.help", f"has more than {MAX_HELP} bytes")
    if metric.unit and not _UNIT.fullmatch(metric.unit):
        raise InvalidArgument(f"{where}.unit", f"{metric.unit!r} is no unit")
    if metric.unit and not metric.name.endswith(f"_{metric.unit}"):
        raise InvalidArgument(f"{where}.name", f"does not end with the unit, _{metric.unit}")
    if not math.isfinite(metric.factor) or metric.factor < 0:
        raise InvalidArgument(f"{where}.factor", f"{metric.factor:g} is no factor")


def _check_labels(where: str, metric: objects_pb2.Metric) -> None:
    if len(metric.labels) > MAX_LABELS:
        raise InvalidArgument(f"{where}.labels", f"at most {MAX_LABELS}")
    seen = {"object", "le"}
    for number, label in enumerate(metric.labels):
        at = f"{where}.labels[{number}]"
        if not _LABEL.fullmatch(label.name) or len(label.name) > MAX_LABEL:
            raise InvalidArgument(
                f"{at}.name", f"{label.name[:MAX_LABEL]!r} is no name of a label"
            )
        if label.name.startswith("__") or label.name in seen:
            raise InvalidArgument(f"{at}.name", f"{label.name} is taken")
        seen.add(label.name)
        sizes = _SIZES.get(label.format)
        if sizes is None:
            raise InvalidArgument(f"{at}.format", f"{label.format} is unknown")
        if label.field.size not in sizes:
            raise InvalidArgument(
                f"{at}.field", f"{label.field.size} bytes do not fit the format"
            )
        if len(label.names) > MAX_NAMES:
            raise InvalidArgument(f"{at}.names", f"at most {MAX_NAMES}")
        if any(len(name) > MAX_LABEL for name in label.names.values()):
            raise InvalidArgument(f"{at}.names", f"longer than {MAX_LABEL} characters")


def _check_histogram(where: str, metric: objects_pb2.Metric) -> None:
    if metric.HasField("value"):
        raise InvalidArgument(f"{where}.value", "a histogram has slots instead")
    histogram = metric.histogram
    if not 2 <= histogram.slots <= MAX_SLOTS:
        raise InvalidArgument(f"{where}.histogram.slots", f"from 2 to {MAX_SLOTS}")
    if not histogram.step and histogram.slots > 65:
        raise InvalidArgument(f"{where}.histogram.slots", "powers of two end at 65")
    if histogram.slot_size not in (4, 8):
        raise InvalidArgument(f"{where}.histogram.slot_size", "4 or 8 bytes")
    if histogram.HasField("sum"):
        _check_number(f"{where}.histogram.sum", histogram.sum)


def _check_number(where: str, field: objects_pb2.MetricField) -> None:
    if field.size not in _NUMBERS:
        raise InvalidArgument(where, f"a number of {field.size} bytes")


def fit(metric: objects_pb2.Metric, info: MapInfo | None) -> None:
    """Whether the fields lie within keys and values of the map; None: there is no map of that
    name. Raises InvalidArgument that names the field."""
    where = f"metrics[{metric.name}]"
    if info is None:
        raise InvalidArgument(f"{where}.map", f"the object has no map {metric.map[:64]}")
    if info.type not in MAPS:
        raise InvalidArgument(f"{where}.map", f"{metric.map} is neither an array nor a hash")
    for number, label in enumerate(metric.labels):
        _within(f"{where}.labels[{number}].field", label.field, info.key_size, "key")
    if metric.type != objects_pb2.METRIC_TYPE_HISTOGRAM:
        _within(f"{where}.value", metric.value, info.value_size, "value")
        return
    slots = metric.histogram
    if slots.offset + slots.slots * slots.slot_size > info.value_size:
        raise InvalidArgument(
            f"{where}.histogram", f"the slots end beyond the value's {info.value_size} bytes"
        )
    if slots.HasField("sum"):
        _within(f"{where}.histogram.sum", slots.sum, info.value_size, "value")


def _within(where: str, field: objects_pb2.MetricField, size: int, what: str) -> None:
    if field.offset + field.size > size:
        raise InvalidArgument(where, f"ends beyond the {what}'s {size} bytes")


def agree(metric: objects_pb2.Metric, owner: str, other: objects_pb2.Metric) -> None:
    """Whether a metric of another object, `owner`, makes one family with this one, where the
    names are the same. Raises InvalidArgument."""
    if other.name != metric.name:
        return
    where = f"metrics[{metric.name}]"
    if (other.type, other.unit) != (metric.type, metric.unit):
        raise InvalidArgument(f"{where}.type", f"object {owner} has another type or unit")
    if labels_of(other) != labels_of(metric):
        raise InvalidArgument(f"{where}.labels", f"object {owner} has it with other labels")


def labels_of(metric: objects_pb2.Metric) -> tuple[str, ...]:
    """Names of the labels, in their order."""
    return tuple(label.name for label in metric.labels)
