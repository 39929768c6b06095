# SPDX-License-Identifier: Apache-2.0
"""Keys and values of maps by their names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from bpfctl import map_names
from bpfctl.errors import InvalidArgument
from bpfctl.target import Target

from bpfd.v1 import common_pb2, maps_pb2


def info(kind: str, **fields: Any) -> common_pb2.KernelMap:
    number = common_pb2.MapType.Value(f"MAP_TYPE_{kind.upper()}")
    return common_pb2.KernelMap(type=number, **fields)


def a_target() -> Target:
    """One with an object "own" of program "drop" and map "inner"."""
    message = SimpleNamespace(
        programs=[SimpleNamespace(name="drop")], maps=[SimpleNamespace(name="inner")]
    )

    def other(text: str) -> common_pb2.ProgramRef:
        return common_pb2.ProgramRef(pin_path=f"asked for {text}")

    found = SimpleNamespace(
        object=lambda _: SimpleNamespace(message=message),
        program_ref=other,
        map_ref=lambda text: common_pb2.MapRef(pin_path=f"asked for {text}"),
    )
    return cast("Target", found)


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("task_storage", "pid:123", "pid:123"),
        ("task_storage", "123", "pid:123"),
        ("sk_storage", "socket:7/3", "socket:7/3"),
        ("sk_storage", "7/3", "socket:7/3"),
        ("cgrp_storage", "cgroup:web", "cgroup:web"),
        ("cgrp_storage", "/sys/fs/cgroup/x:y", "cgroup:/sys/fs/cgroup/x:y"),
        ("inode_storage", "path:/etc/a:b", "path:/etc/a:b"),
        ("inode_storage", "/etc/passwd", "path:/etc/passwd"),
        ("cgroup_storage", "cgroup:web", "cgroup:web"),
    ],
)
def test_keys_are_written_as_they_are_read(kind: str, text: str, shown: str) -> None:
    ref = map_names.key_ref(info(kind), text)
    assert ref is not None
    assert map_names.key_text(ref) == shown
    assert map_names.key_ref(info(kind), ref) is ref


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("task_storage", "init"), ("task_storage", "pid:-1"), ("task_storage", "4294967296")),
        *(("sk_storage", "socket:7"), ("sk_storage", "7/x"), ("inode_storage", "path:etc")),
        *(("cgrp_storage", "cgroup:"), ("inode_storage", "")),
    ],
)
def test_wrong_keys_say_how_they_look(kind: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=" is not "):
        map_names.key_ref(info(kind), text)


def test_other_keys_are_bytes() -> None:
    assert map_names.key_ref(info("hash"), "pid:7") is None
    assert map_names.key_ref(info("cgroup_storage"), "7") is None


def read(kind: str, value: Any, **fields: Any) -> maps_pb2.ValueRef:
    return map_names.value_ref(a_target(), info(kind, object="own", **fields), value)


def test_bare_names_are_of_the_own_object_first() -> None:
    assert read("prog_array", "drop").program.member.object == "own"
    assert read("prog_array", "program:drop").program.member.name == "drop"
    assert read("prog_array", "x/drop").program.pin_path == "asked for x/drop"
    assert read("hash_of_maps", "map:inner").map.member.object == "own"
    assert read("array_of_maps", 17).map.pin_path == "asked for 17"


@pytest.mark.parametrize(
    ("value", "name", "ifindex", "program"),
    [
        ("eth0", "eth0", 0, ""),
        ("name:ifindex:7", "ifindex:7", 0, ""),
        ("ifindex:7", "", 7, ""),
        ("7", "", 7, ""),
        (7, "", 7, ""),
        ("eth0,program=drop", "eth0", 0, "drop"),
        ({"ifindex": 3, "prog_id": 0}, "", 3, ""),
    ],
)
def test_interfaces(value: Any, name: str, ifindex: int, program: str) -> None:
    device = read("devmap", value).device
    assert (device.interface.name, device.interface.ifindex) == (name, ifindex)
    assert device.program.member.name == program


def test_interfaces_elsewhere_and_programs_by_id() -> None:
    assert read("devmap_hash", "e,netns=blue").device.interface.netns.name == "blue"
    assert read("devmap", "e,netns=/n").device.interface.netns.path == "/n"
    assert read("devmap", "e,netns=pid:7").device.interface.netns.pid == 7
    assert read("devmap", {"ifindex": 3, "prog_id": 9}).device.program.id == 9
    assert read("cpumap", {"qsize": 3, "prog_id": 9}).cpu.program.id == 9
    assert read("cpumap", "qsize=192,program=drop").cpu.queue_size == 192
    raw = b"\3\0\0\0\7\0\0\0"
    assert map_names.parts_of(raw, "cpu", "little") == {"qsize": 3, "prog_id": 7}
    assert map_names.id_in({"ifindex": 3, "prog_id": 7}, "device") == 7
    assert map_names.id_in(5, "map") == 5


def test_perf_events() -> None:
    event = read("perf_event_array", "cpu-clock,pid=7,cpu=2").perf_event
    assert (event.type, event.config, event.pid, list(event.cpus)) == (1, 0, 7, [2])
    assert read("perf_event_array", "4:0x1c2").perf_event.config == 0x1C2


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("devmap", "eth0,speed=1"), ("devmap", ""), ("devmap", "ifindex:x")),
        *(("cpumap", "many"), ("sockmap", "7/3"), ("sockmap", "socket:7")),
        *(("perf_event_array", "cpu-clok"), ("perf_event_array", "1:x")),
    ],
)
def test_wrong_values_are_refused(kind: str, value: str) -> None:
    with pytest.raises(InvalidArgument):
        read(kind, value)
