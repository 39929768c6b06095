# SPDX-License-Identifier: Apache-2.0
"""Reads the maps of declared metrics, within bounds; blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bpfd.kernel import cpus, map_io
from bpfd.kernel.info import map_info
from bpfd.metrics import decode
from bpfd.v1 import objects_pb2

MAX_SAMPLES = 10_000
"""Lines of the page for one metric of one object."""

MAX_ENTRIES = 1 << 20
"""Entries that are read of one map; those beyond are not looked at."""

_BATCH_BYTES = 1 << 20

Labels = tuple[str, ...]


@dataclass
class Read:
    """One metric of one object, as a scrape found it."""

    owner: str
    metric: objects_pb2.Metric
    values: dict[Labels, list[int]] = field(default_factory=dict)
    """By the texts of the labels: one number, or slots and the sum."""
    left_out: int = 0
    """Entries whose labels had no room any more."""

    @property
    def labels(self) -> Labels:
        """Names of the labels, in their order."""
        return tuple(label.name for label in self.metric.labels)


def read(owner: str, metric: objects_pb2.Metric, fd: int) -> Read:
    """Every entry of a map, in batches. Raises OSError."""
    info = map_info(fd)
    shape = map_io.shape(info)
    found = Read(owner, metric)
    labels = [decode.label(each) for each in metric.labels]
    take = _numbers(metric)
    samples = metric.histogram.slots + 2 if metric.HasField("histogram") else 1
    most = max(1, MAX_SAMPLES // samples)
    stride = cpus.percpu_stride(info)
    offsets = range(0, shape.value_size, stride) if stride else range(1)
    entries = max(1, _BATCH_BYTES // (shape.key_size + shape.value_size))
    for key, value in _entries(fd, shape, min(entries, shape.max_entries)):
        identity = tuple(read_label(key) for read_label in labels)
        known = found.values.get(identity)
        if known is None and len(found.values) >= most:
            found.left_out += 1
            continue
        for offset in offsets:
            numbers = take(value[offset:])
            known = numbers if known is None else list(map(int.__add__, known, numbers))
        assert known is not None
        found.values[identity] = known
    return found


def _numbers(metric: objects_pb2.Metric) -> Callable[[decode.Bytes], list[int]]:
    if metric.HasField("histogram"):
        return decode.slots(metric.histogram)
    one = decode.number(metric.value)
    return lambda value: [one(value)]


def _entries(
    fd: int, shape: map_io.Shape, entries: int
) -> Iterator[tuple[memoryview, memoryview]]:
    pairs = (
        (
            chunk.keys[index * shape.key_size : (index + 1) * shape.key_size],
            chunk.values[index * shape.value_size : (index + 1) * shape.value_size],
        )
        for chunk in map_io.read(fd, shape, entries)
        for index in range(chunk.count)
    )
    return itertools.islice(pairs, MAX_ENTRIES)
