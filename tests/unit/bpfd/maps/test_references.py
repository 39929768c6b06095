# SPDX-License-Identifier: Apache-2.0
"""Which values a map takes, before anything is opened."""

from __future__ import annotations

import struct

import pytest

from bpfd.errors import InvalidArgument, NotSupported
from bpfd.kernel.constants import MapType, name_of
from bpfd.kernel.map_io import Shape
from bpfd.maps import references, storage
from bpfd.maps.check import OpenMap
from bpfd.v1 import common_pb2, maps_pb2


def a_map(kind: MapType, value_size: int = 4, key_size: int = 4) -> OpenMap:
    shape = Shape(kind, key_size, value_size, 8)
    return OpenMap(-1, 1, "m", name_of(MapType, kind), shape, 0)


@pytest.mark.parametrize("kind", references.KINDS)
def test_each_type_takes_one_kind(kind: MapType) -> None:
    name = references.KINDS[kind]
    ref = maps_pb2.ValueRef()
    getattr(ref, name).SetInParent()
    references.check(a_map(kind), [ref], 1)
    with pytest.raises(InvalidArgument):
        references.check(a_map(kind), [ref], 2)
    other = maps_pb2.ValueRef(program=common_pb2.ProgramRef(id=1))
    if name == "program":
        other = maps_pb2.ValueRef(map=common_pb2.MapRef(id=1))
    with pytest.raises(InvalidArgument, match=r"refs\[0\]"):
        references.check(a_map(kind), [other], 1)


def test_programs_are_never_numbers_of_files() -> None:
    found = a_map(MapType.DEVMAP, 8)
    references.check_raw(found, struct.pack("=IiIi", 3, 0, 4, -1))
    with pytest.raises(InvalidArgument, match="by name or id"):
        references.check_raw(found, struct.pack("=IiIi", 3, 0, 4, 9))
    references.check_raw(a_map(MapType.DEVMAP), struct.pack("=II", 3, 7))


@pytest.mark.parametrize("kind", storage.BY_FD)
def test_keys_of_storage_maps_are_named(kind: MapType) -> None:
    with pytest.raises(InvalidArgument, match="give key_refs"):
        storage.takes_refs(a_map(kind), 0)
    assert storage.takes_refs(a_map(kind), 1)
    with pytest.raises(InvalidArgument, match="give keys"):
        storage.takes_refs(a_map(MapType.HASH), 1)
    wrong = (
        maps_pb2.KeyRef(pid=1) if kind != MapType.TASK_STORAGE else maps_pb2.KeyRef(path="/")
    )
    with pytest.raises(InvalidArgument), storage.opened_key(a_map(kind), wrong):
        pass


def test_files_have_no_list() -> None:
    with pytest.raises(NotSupported, match="ask for some"):
        storage.check_listed(a_map(MapType.INODE_STORAGE))
    storage.check_listed(a_map(MapType.TASK_STORAGE))


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        (maps_pb2.KeyRef(pid=7), "pid:7"),
        (maps_pb2.KeyRef(cgroup=common_pb2.Cgroup(path="/x")), "cgroup:/x"),
        (maps_pb2.KeyRef(path="/f"), "path:/f"),
    ],
)
def test_keys_are_said_as_they_are_typed(ref: maps_pb2.KeyRef, text: str) -> None:
    assert storage.key_text(ref) == text
