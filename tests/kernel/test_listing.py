# SPDX-License-Identifier: Apache-2.0
"""Programs, maps and links as bpftool sees them, foreign ones too, field by field."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from bpfctl.disassembly.program import Program
from bpfctl.disassembly.text import render

from bpfd.v1 import common_pb2, links_pb2, maps_pb2, programs_pb2
from tests.kernel.api import PINNED, SWITCHES, Api, refused
from tests.kernel.clang import compiled


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


def bpftool(*arguments: str) -> list[dict[str, Any]]:
    """What `bpftool -j` prints."""
    done = subprocess.run(["bpftool", "-j", *arguments], check=True, capture_output=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@contextmanager
def foreign(tmp_path: Path) -> Iterator[str]:
    """An object that bpftool loaded and attached."""
    folder = f"/sys/fs/bpf/bpfd-test-foreign-{os.getpid()}"
    (tmp_path / "foreign.o").write_bytes(compiled("objects", "VERSION=7"))
    load = ["bpftool", "prog", "loadall", str(tmp_path / "foreign.o"), folder]
    subprocess.run([*load, "pinmaps", folder], check=True)
    try:
        yield folder
    finally:
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def test_programs_and_maps_agree(api: Api, tmp_path: Path) -> None:
    with foreign(tmp_path) as folder, api.session() as lifetime:
        api.load("ours", compiled("objects"), lifetime)
        theirs = {item["id"]: item for item in bpftool("prog", "show")}
        reply = api.programs.List(programs_pb2.ListProgramsRequest(owners=True))
        ours = {item.id: item for item in reply.programs}
        both = theirs.keys() & ours.keys()
        assert {item.name for item in reply.programs} >= {"count_packets", "count_switches"}
        for number in both:
            left, right = ours[number], theirs[number]
            assert left.name == right.get("name", "")
            assert left.tag.hex() == right["tag"]
            assert left.gpl_compatible == right["gpl_compatible"]
            assert left.loaded_at.seconds - right["loaded_at"] in (-1, 0, 1)
            assert left.uid == right["uid"]
            assert left.bytes_xlated == right["bytes_xlated"]
            assert left.jited == right["jited"]
            assert left.bytes_jited == right.get("bytes_jited", 0)
            assert left.bytes_memlock == right["bytes_memlock"]
            assert list(left.map_ids) == right.get("map_ids", [])
            assert left.btf_id == right.get("btf_id", 0)
        pinned = [
            item for item in ours.values() if f"{folder}/count_packets" in item.pinned_paths
        ]
        assert [item.name for item in pinned] == ["count_packets"]
        assert not pinned[0].object
        mine = [item for item in ours.values() if item.object == "ours"]
        assert len(mine) == 2
        assert all(holder.comm for item in mine for holder in item.holders)
        _maps_agree(api)


def _maps_agree(api: Api) -> None:
    ours = [
        item
        for item in api.maps.List(maps_pb2.ListMapsRequest()).maps
        if item.name in ("obj_runs", "ours.rodata", "objects.rodata")
    ]
    assert len(ours) >= 3
    for left in ours:
        # One by one: in a list, bpftool 7.1 shows btf_id of the map before for maps
        # that have none.
        right: Any = bpftool("map", "show", "id", str(left.id))
        assert left.name == right.get("name", "")
        assert left.flags == right["flags"]
        assert (left.key_size, left.value_size) == (right["bytes_key"], right["bytes_value"])
        assert left.max_entries == right["max_entries"]
        assert left.bytes_memlock == right["bytes_memlock"]
        assert left.frozen == bool(right["frozen"])
        assert left.btf_id == right.get("btf_id", 0)


def test_links_agree(api: Api) -> None:
    with api.session() as lifetime:
        api.load("ours", compiled("objects"), lifetime)
        link = api.attach("ours/count_switches", SWITCHES)
        theirs = {item["id"]: item for item in bpftool("link", "show")}
        reply = api.links.List(links_pb2.ListLinksRequest(kernel=True))
        ours = {item.id: item for item in reply.kernel_links}
        number = link.link_ids[0]
        assert ours[number].program_id == theirs[number]["prog_id"]
        assert ours[number].type_name == theirs[number]["type"]
        assert ours[number].target_name == theirs[number]["tp_name"] == "sched_switch"
        assert ours[number].link == "ours/count_switches"
        assert ours[number].holders


def test_dump_of_a_program(api: Api) -> None:
    loaded = api.load("ours", compiled("objects"), PINNED).object
    ref = common_pb2.ProgramRef(id=loaded.programs[0].id)
    plain = api.programs.Dump(programs_pb2.DumpProgramRequest(program=ref))
    shown = api.programs.Get(programs_pb2.GetProgramRequest(program=ref))
    assert len(plain.code) == shown.bytes_xlated
    assert len(plain.line_info) % plain.line_info_record_size == 0
    assert plain.line_info
    jited = api.programs.Dump(programs_pb2.DumpProgramRequest(program=ref, jited=True))
    assert len(jited.code) == shown.bytes_jited
    assert sum(jited.function_sizes) == shown.bytes_jited
    request = programs_pb2.DumpProgramRequest(program=ref, without_symbols=True)
    sooner = api.programs.Dump(request)
    assert sooner.code == plain.code
    assert not sooner.symbols
    for answer in (plain, jited):
        assert answer.program.id == shown.id
        assert [each.id for each in answer.maps] == list(shown.map_ids)
    _named(plain, jited)
    api.unload("ours")


def _named(
    plain: programs_pb2.DumpProgramResponse, jited: programs_pb2.DumpProgramResponse
) -> None:
    """Calls and functions have the kernel's names, also where its pointers have 32 bits."""
    assert not plain.addresses_hidden
    view = Program(plain)
    texts = [render(each, view) for each in view.instructions]
    assert not [text for text in texts if "unknown" in text or "call helper" in text]
    names = {each.address: each.name for each in jited.symbols}
    function = f"bpf_prog_{plain.program.tag.hex()}_{plain.program.kernel_name}"
    # Not there with net.core.bpf_jit_kallsyms=0.
    assert names.get(jited.function_addresses[0], function) == function
    assert len(jited.jited_line_addresses) == len(jited.line_info) // max(
        1, jited.line_info_record_size
    )
    first = jited.function_addresses[0]
    sizes = range(first, first + jited.function_sizes[0])
    assert all(address in sizes for address in jited.jited_line_addresses)


def test_what_is_not_there(api: Api) -> None:
    with refused("not_found"):
        api.programs.Get(
            programs_pb2.GetProgramRequest(program=common_pb2.ProgramRef(id=0x7FFFFFFF))
        )
    with refused("not_found"):
        api.programs.Get(
            programs_pb2.GetProgramRequest(
                program=common_pb2.ProgramRef(pin_path="/sys/fs/bpf/no")
            )
        )
    with refused("invalid_argument"):
        api.programs.Get(programs_pb2.GetProgramRequest())


def test_statistics_stream(api: Api) -> None:
    with api.session() as lifetime:
        loaded = api.load("ours", compiled("objects"), lifetime).object
        number = loaded.programs[0].id
        request = programs_pb2.EnableStatsRequest()
        request.interval.FromMilliseconds(100)
        stream = api.programs.EnableStats(request)
        next(stream)
        test = programs_pb2.TestRunRequest(
            program=common_pb2.ProgramRef(id=number), data=bytes(64), repeat=10
        )
        api.programs.TestRun(test)
        for message in stream:
            counts = {item.id: item.run_count for item in message.programs}
            if counts.get(number):
                break
        stream.cancel()
        assert counts[number] >= 10


def test_a_pin_of_another_kind(api: Api, tmp_path: Path) -> None:
    with foreign(tmp_path) as folder:
        pinned_program = common_pb2.MapRef(pin_path=f"{folder}/count_packets")
        with refused("invalid_argument") as why:
            api.maps.Get(maps_pb2.GetMapRequest(map=pinned_program))
        assert "not a pinned map" in why.text
        pinned_map = common_pb2.ProgramRef(pin_path=f"{folder}/obj_runs")
        with refused("invalid_argument") as why:
            api.programs.Get(programs_pb2.GetProgramRequest(program=pinned_map))
        assert "not a pinned program" in why.text


def test_test_runs_of_programs_without_packets(api: Api) -> None:
    with api.session() as lifetime:
        api.load("ours", compiled("objects"), lifetime)
        ref = common_pb2.ProgramRef(
            member=common_pb2.ObjectMember(object="ours", name="count_switches")
        )
        request = programs_pb2.TestRunRequest(program=ref, context=bytes(8), cpu=0)
        assert api.programs.TestRun(request).return_value == 0
