# SPDX-License-Identifier: Apache-2.0
"""[[metrics]] of packages, and what a daemon is told of them."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path

import pytest
from bpfctl.build import TargetFacts, build
from bpfctl.elf import ObjectFile
from bpfctl.metrics import describe, of_package
from bpfctl.package import Metric, PackageError, load_package

from bpfd.v1 import objects_pb2
from tests.clang import CLANG

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")

pytestmark = pytest.mark.skipif(
    not KERNEL_BTF.exists() or not CLANG, reason="needs clang and kernel BTF"
)

HEAD = """
name = "sample"
description = "One sentence."
version = "1.2.3"
license = "GPL-2.0-only"
source = "sample.bpf.c"

[[metrics]]
map = "m"
help = "h"
"""


@cache
def built(name: str) -> bytes:
    facts = TargetFacts(platform.machine(), sys.byteorder == "big", 64, "")
    return build(load_package(name).source_path(), facts, KERNEL_BTF.read_bytes).object


def declared(name: str, **values: int) -> dict[str, objects_pb2.Metric]:
    package = load_package(name)
    return {each.name: each for each in of_package(package, built(name), values)}


def test_a_struct_and_an_enum_behind_an_array_index() -> None:
    found = declared("ddos")
    packets, size = found["ddos_packets"], found["ddos_bytes"]
    assert packets.map == "counters"
    assert packets.value == objects_pb2.MetricField(offset=0, size=8)
    assert size.value == objects_pb2.MetricField(offset=8, size=8)
    assert (size.unit, size.factor) == ("bytes", 1.0)
    (label,) = packets.labels
    assert (label.name, label.field.size, label.names[4]) == ("reason", 4, "BLOCKED_SOURCE_V4")
    assert found["ddos_events_lost"].value.size == 8


def test_a_histogram_with_text_flags_and_step() -> None:
    found = declared("biolatency", step=50)["biolatency_seconds"]
    disk, operation, flags = found.labels
    assert (disk.format, disk.field.size) == (objects_pb2.METRIC_FORMAT_TEXT, 32)
    assert (operation.field.offset, operation.names[1]) == (32, "WRITE")
    assert (flags.names[1], flags.names[3]) == ("SYNC", "SYNC|META")
    assert found.histogram == objects_pb2.MetricHistogram(
        offset=8, slots=32, slot_size=8, step=50, sum=objects_pb2.MetricField(size=8)
    )
    assert (found.unit, found.factor) == ("seconds", 1e-6)


def metric(
    map: str = "counters",
    value: str = "packets",
    type: str = "counter",
    labels: tuple[tuple[str, str], ...] = (),
) -> Metric:
    return Metric("x", type, map, "h", value, labels, "", 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (metric(map="nothing"), r"metrics\[x\].map: the types of map nothing are not known"),
        (metric(value="packet"), r"value: the value has no packet; did you mean packets\?"),
        (metric(value=""), "the value has no number of its own"),
        (metric(type="histogram", value=""), "the value has no array of integers slots"),
        (metric(map="ports", value="", labels=(("p", "prot"),)), "labels: the key has no prot"),
    ],
)
def test_names_that_the_object_does_not_have(wrong: Metric, said: str) -> None:
    with pytest.raises(PackageError, match=said):
        describe(wrong, ObjectFile.parse(built("ddos")), {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "a"\ntype = "pie"', "type 'pie' is not one of counter, gauge, histogram"),
        ('name = "a_total"\ntype = "counter"', "ends with _total"),
        ('name = "bpfd_a"\ntype = "counter"', "begins with bpfd_"),
        ('name = "a"\ntype = "counter"\nunit = "us"', "does not end with _seconds"),
        ('name = "a"\ntype = "counter"\nlabels = ["le"]', "labels: le is taken"),
        ('name = "a"\ntype = "counter"\nlabels = ["b", "b=c"]', "labels: b is taken"),
        ('name = "a"\ntype = "counter"\nlabels = ["a-b"]', "labels 'a-b' is not of the form"),
        ('name = "a"\ntype = "counter"\nstep = 1', "step is an unknown key"),
        ('name = "a"\ntype = "histogram"\nstep = "s"', "there is no setting 's'"),
    ],
)
def test_what_is_wrong_in_the_file(tmp_path: Path, text: str, said: str) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "sample.bpf.c").write_text("")
    (folder / "package.toml").write_text(HEAD + text + "\n")
    with pytest.raises(PackageError, match=said):
        load_package(folder)
