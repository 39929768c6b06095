# SPDX-License-Identifier: Apache-2.0
"""Metrics of a target: what a package declares, as the daemon takes it, and the page.

The daemon knows no types: where the numbers are in keys and values is found here, by the BTF
of the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bpfctl.package import Metric, Package, PackageError
from bpfctl.package.metrics import BASE_UNITS
from bpfctl.package.model import Value, near

if TYPE_CHECKING:
    from bpfctl.btf.nodes import Node
    from bpfctl.elf import ObjectFile
    from bpfctl.target import Target
    from bpfd.v1 import objects_pb2

_MOST_NAMES = 256
"""Names of one label (protos/bpfd/v1/objects.proto)."""


def page(target: Target) -> Iterator[bytes]:
    """The page of metrics of a target, in pieces: OpenMetrics text. Raises NotSupported."""
    from bpfd.v1 import target_pb2

    rpc = target.rpc
    request = target_pb2.GetMetricsRequest()
    with rpc.stream(rpc.target.GetMetrics, request, "Target.GetMetrics") as chunks:
        for chunk in chunks:
            yield chunk.data


def of_package(
    package: Package, elf: bytes, values: Mapping[str, Value]
) -> list[objects_pb2.Metric]:
    """A package's metrics for the object in `elf`; those of maps that it does not have are
    left out. Raises PackageError."""
    if not package.metrics:
        return []
    from bpfctl.elf import ObjectFile

    parsed = ObjectFile.parse(elf)
    there = {entry.name for entry in parsed.maps}
    return [
        describe(metric, parsed, values) for metric in package.metrics if metric.map in there
    ]


def describe(
    metric: Metric, obj: ObjectFile, values: Mapping[str, Value]
) -> objects_pb2.Metric:
    """A metric with offsets and sizes in place of names; `values` are the settings' ones.

    Raises PackageError that names the key.
    """
    from bpfd.v1 import objects_pb2

    where = f"metrics[{metric.name}]"
    key = dict(_leaves(obj, metric.map, "key", where))
    value = dict(_leaves(obj, metric.map, "value", where))
    base, factor = BASE_UNITS.get(metric.unit, ("", 1.0))
    found = objects_pb2.Metric(
        map=metric.map,
        name=metric.name,
        type=objects_pb2.MetricType.Value(f"METRIC_TYPE_{metric.type.upper()}"),
        help=metric.help,
        unit=base,
        factor=factor,
    )
    for label, member in metric.labels:
        if "" in key:
            member = ""
        if member not in key:
            raise PackageError(f"{where}.labels: the key has no {member}{near(member, key)}")
        _set_label(found.labels.add(name=label), *key[member], f"{where}.labels")
    if metric.type == "histogram":
        step = metric.step if isinstance(metric.step, int) else int(values.get(metric.step, 0))
        _set_histogram(found.histogram, metric, value, step, where)
        return found
    if metric.value not in value:
        raise PackageError(
            f"{where}.value: the value has no {metric.value or 'number of its own'}"
            f"{near(metric.value, value)}"
        )
    _set_number(found.value, *value[metric.value], f"{where}.value")
    return found


def _leaves(
    obj: ObjectFile, name: str, member: str, where: str
) -> Iterator[tuple[str, tuple[int, Node]]]:
    """(path, (offset, node)) of all that a map's key or value consists of."""
    from bpfctl import declared
    from bpfctl.btf import Btf, Codec

    btf = Btf.parse(obj.btf) if obj.btf else None
    number = declared.of_map(btf, name, member) if btf is not None else 0
    if btf is None or not number:
        raise PackageError(f"{where}.map: the types of map {name} are not known")
    for path, offset, node in Codec(btf, number).node.leaves():
        yield path, (offset, node)


def _set_number(field: objects_pb2.MetricField, offset: int, node: Node, where: str) -> None:
    from bpfctl.btf.nodes import IntegerLeaf

    if not isinstance(node, IntegerLeaf) or node.size not in (1, 2, 4, 8):
        raise PackageError(f"{where}: {node.name} is no integer")
    field.offset, field.size = offset, node.size
    field.signed = node.role.signed
    field.network_order = _in_network_order(node)


def _in_network_order(node: Node) -> bool:
    from bpfctl.btf.roles import NetworkNumber

    return isinstance(getattr(node, "role", None), NetworkNumber)


def _set_label(label: objects_pb2.MetricLabel, offset: int, node: Node, where: str) -> None:
    from bpfctl.btf import bytesroles
    from bpfctl.btf.nodes import BytesLeaf
    from bpfctl.btf.roles import Boolean, Enumeration
    from bpfd.v1 import objects_pb2

    if isinstance(node, BytesLeaf):
        formats = {
            bytesroles.Ipv4: objects_pb2.METRIC_FORMAT_IPV4,
            bytesroles.Ipv6: objects_pb2.METRIC_FORMAT_IPV6,
            bytesroles.Mac: objects_pb2.METRIC_FORMAT_MAC,
            bytesroles.Text: objects_pb2.METRIC_FORMAT_TEXT,
        }
        label.format = formats.get(type(node.role), objects_pb2.METRIC_FORMAT_HEX)
        label.field.offset, label.field.size = offset, node.size
        return
    _set_number(label.field, offset, node, where)
    role = getattr(node, "role", None)
    if isinstance(role, Boolean):
        label.names.update({0: "false", 1: "true"})
    elif isinstance(role, Enumeration):
        label.names.update(role.names(_MOST_NAMES))


def _set_histogram(
    histogram: objects_pb2.MetricHistogram,
    metric: Metric,
    value: Mapping[str, tuple[int, Node]],
    step: int,
    where: str,
) -> None:
    from bpfctl.btf.composites import ArrayNode

    name = metric.value or ("slots" if "slots" in value else "")
    offset, node = value.get(name, (0, None))
    if not isinstance(node, ArrayNode) or node.element.size not in (4, 8):
        raise PackageError(
            f"{where}.value: the value has no array of integers {name or 'slots'}"
        )
    histogram.offset, histogram.slots = offset, node.count
    histogram.slot_size, histogram.step = node.element.size, step
    if "sum" in value:
        _set_number(histogram.sum, *value["sum"], f"{where}.value")
