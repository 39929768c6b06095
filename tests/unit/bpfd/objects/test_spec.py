# SPDX-License-Identifier: Apache-2.0
"""What is pure about loading a specification."""

from __future__ import annotations

import pytest

from bpfd.errors import InvalidArgument
from bpfd.kernel.load_options import Constant, LoadOptions, MapSetting
from bpfd.objects import spec
from bpfd.v1 import common_pb2, objects_pb2

LOAD = bytes.fromhex("18010000000000000000000008000000")
EXIT = bytes.fromhex("9500000000000000")


def test_relocate_little_endian() -> None:
    code = spec.relocate(LOAD + EXIT, [(0, 2, 77)], "little")
    assert code.hex() == "182100004d0000000000000008000000" + EXIT.hex()


def test_relocate_big_endian() -> None:
    code = spec.relocate(LOAD.replace(b"\x18\x01", b"\x18\x10") + EXIT, [(0, 1, 77)], "big")
    assert code.hex() == "181100000000004d0000000008000000" + EXIT.hex()


def one(**fields: object) -> objects_pb2.ObjectSpec:
    program = objects_pb2.ProgramSpec(name="p", instructions=LOAD + EXIT, **fields)  # type: ignore[arg-type]
    return objects_pb2.ObjectSpec(programs=[program])


@pytest.mark.parametrize(
    ("item", "options", "field"),
    [
        (objects_pb2.ObjectSpec(), LoadOptions(), "spec"),
        (one(func_info=b"123", func_info_record_size=8), LoadOptions(), ".func_info"),
        (one(), LoadOptions(maps={"m": MapSetting()}), "options.maps"),
        (one(), LoadOptions(constants=(Constant(".rodata", 0, b""),)), "options.constants"),
        (
            one(relocations=[objects_pb2.Relocation(instruction=1)]),
            LoadOptions(),
            "relocations",
        ),
        (
            one(relocations=[objects_pb2.Relocation(instruction=99)]),
            LoadOptions(),
            "relocations",
        ),
        (
            one(relocations=[objects_pb2.Relocation(instruction=0)]),
            LoadOptions(),
            "relocations",
        ),
    ],
)
def test_contradictions(item: objects_pb2.ObjectSpec, options: LoadOptions, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        spec.validate(item, options)
    assert field in raised.value.field


def test_a_plain_spec_is_valid() -> None:
    spec.validate(one(), LoadOptions())


def test_descriptors_are_not_values() -> None:
    array = objects_pb2.MapSpec(
        name="calls",
        type=common_pb2.MAP_TYPE_PROG_ARRAY,
        key_size=4,
        value_size=4,
        max_entries=1,
        initial_keys=bytes(4),
        initial_values=b"\5\0\0\0",
    )
    with pytest.raises(InvalidArgument, match="initial_refs"):
        spec.validate(objects_pb2.ObjectSpec(maps=[array]), LoadOptions())
