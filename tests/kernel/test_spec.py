# SPDX-License-Identifier: Apache-2.0
"""Objects without an ELF file: maps, instructions, relocations."""

from __future__ import annotations

import struct
from typing import Any

import grpc
import pytest

from bpfd.v1 import common_pb2, maps_pb2, objects_pb2, programs_pb2
from tests.kernel.api import Api, map_ref, program, refused

RETURN_1 = bytes.fromhex("b7000000010000009500000000000000")


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


def counter_program(value_load: bool = False) -> bytes:
    """Adds 1 to the first value of a map; the first instruction is the 16-byte load."""
    instructions = [
        (0x18, 1, 0, 0, 0),  # r1 = map (relocated)
        (0x00, 0, 0, 0, 0),
    ]
    if not value_load:
        instructions += [
            (0x62, 10, 0, -4, 0),  # *(u32 *)(r10 - 4) = 0
            (0xBF, 2, 10, 0, 0),  # r2 = r10
            (0x07, 2, 0, 0, -4),  # r2 += -4
            (0x85, 0, 0, 0, 1),  # r0 = bpf_map_lookup_elem(r1, r2)
            (0x15, 0, 0, 3, 0),  # if r0 == 0 goto exit
            (0xBF, 1, 0, 0, 0),  # r1 = r0
        ]
    instructions += [
        (0xB7, 2, 0, 0, 1),  # r2 = 1
        (0xDB, 1, 2, 0, 0),  # lock *(u64 *)(r1 + 0) += r2
        (0xB7, 0, 0, 0, 2),  # r0 = 2
        (0x95, 0, 0, 0, 0),  # exit
    ]
    return b"".join(
        struct.pack("<BBhi", code, source << 4 | target, offset, immediate)
        for code, target, source, offset, immediate in instructions
    )


def counter(**fields: Any) -> objects_pb2.MapSpec:
    return objects_pb2.MapSpec(
        name="spec_counter",
        type=common_pb2.MAP_TYPE_ARRAY,
        key_size=4,
        value_size=8,
        max_entries=1,
        **fields,
    )


def xdp(instructions: bytes, **fields: Any) -> objects_pb2.ProgramSpec:
    return objects_pb2.ProgramSpec(
        name="spec_xdp",
        type=common_pb2.PROGRAM_TYPE_XDP,
        instructions=instructions,
        license="GPL",
        **fields,
    )


def load(api: Api, name: str, lifetime: common_pb2.Lifetime, **spec: Any) -> objects_pb2.Object:
    return api.objects.Load(
        objects_pb2.LoadRequest(
            name=name, lifetime=lifetime, spec=objects_pb2.ObjectSpec(**spec)
        )
    ).object


def value(api: Api, where: str) -> int:
    reply = api.maps.Lookup(maps_pb2.LookupRequest(map=map_ref(where), keys=bytes(4)))
    return int(struct.unpack("=Q", reply.values)[0])


def run(api: Api, where: str) -> int:
    request = programs_pb2.TestRunRequest(program=program(where), data=bytes(64))
    return api.programs.TestRun(request).return_value


@pytest.mark.parametrize("value_load", [False, True])
def test_relocation_to_a_map_of_the_spec(api: Api, value_load: bool) -> None:
    kind = (
        objects_pb2.RELOCATION_KIND_MAP_VALUE if value_load else objects_pb2.RELOCATION_KIND_MAP
    )
    fix = objects_pb2.Relocation(instruction=0, kind=kind, map="spec_counter")
    with api.session() as lifetime:
        load(
            api,
            "one",
            lifetime,
            maps=[counter()],
            programs=[xdp(counter_program(value_load), relocations=[fix])],
        )
        assert run(api, "one/spec_xdp") == 2
        assert value(api, "one/spec_counter") == 1


def test_relocation_to_a_loaded_map(api: Api) -> None:
    with api.session() as lifetime:
        first = load(api, "maps", lifetime, maps=[counter()])
        fix = objects_pb2.Relocation(
            kind=objects_pb2.RELOCATION_KIND_MAP,
            loaded=common_pb2.MapRef(id=first.maps[0].id),
        )
        load(api, "code", lifetime, programs=[xdp(counter_program(), relocations=[fix])])
        run(api, "code/spec_xdp")
        assert value(api, "maps/spec_counter") == 1


def test_initial_values_and_freeze(api: Api) -> None:
    first = counter(initial_keys=bytes(4), initial_values=struct.pack("=Q", 41), freeze=True)
    with api.session() as lifetime:
        load(api, "one", lifetime, maps=[first])
        assert value(api, "one/spec_counter") == 41
        found = api.maps.Get(maps_pb2.GetMapRequest(map=map_ref("one/spec_counter")))
        assert found.frozen


def test_map_in_map_and_prog_array(api: Api) -> None:
    outer = objects_pb2.MapSpec(
        name="spec_outer",
        type=common_pb2.MAP_TYPE_ARRAY_OF_MAPS,
        key_size=4,
        value_size=4,
        max_entries=2,
        inner=counter(),
        initial_keys=bytes(4),
        initial_refs=[objects_pb2.SpecRef(map="spec_counter")],
    )
    jumps = objects_pb2.MapSpec(
        name="spec_jumps",
        type=common_pb2.MAP_TYPE_PROG_ARRAY,
        key_size=4,
        value_size=4,
        max_entries=2,
        initial_keys=bytes(4),
        initial_refs=[objects_pb2.SpecRef(program="spec_xdp")],
    )
    with api.session() as lifetime:
        made = load(
            api,
            "one",
            lifetime,
            maps=[counter(), outer, jumps],
            programs=[xdp(RETURN_1)],
        )
        ids = {item.name: item.id for item in made.maps}
        for name, wanted in (
            ("spec_outer", ids["spec_counter"]),
            ("spec_jumps", made.programs[0].id),
        ):
            reply = api.maps.Lookup(
                maps_pb2.LookupRequest(map=map_ref(f"one/{name}"), keys=bytes(4))
            )
            assert struct.unpack("=I", reply.values) == (wanted,)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec"),
        ({"maps": [counter(), counter()]}, "spec.maps"),
        ({"programs": [xdp(b"1234567")]}, "spec.programs[0].instructions"),
        (
            {
                "programs": [
                    xdp(
                        RETURN_1,
                        relocations=[
                            objects_pb2.Relocation(
                                kind=objects_pb2.RELOCATION_KIND_MAP, map="x"
                            )
                        ],
                    )
                ]
            },
            "spec.programs[0].relocations[0]",
        ),
        ({"maps": [counter(initial_keys=bytes(4))]}, "map spec_counter"),
        ({"maps": [counter()], "btf": b"no btf"}, "spec.btf"),
    ],
)
def test_contradictions(api: Api, spec: dict[str, Any], field: str) -> None:
    with api.session() as lifetime, refused("invalid_argument") as why:
        load(api, "bad", lifetime, **spec)
    assert why.detail.field == field


def test_refused_instructions(api: Api) -> None:
    with api.session() as lifetime, refused("verifier_rejected") as why:
        load(api, "bad", lifetime, programs=[xdp(bytes.fromhex("9500000000000000"))])
    assert "R0" in why.detail.log
