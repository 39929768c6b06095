# SPDX-License-Identifier: Apache-2.0
"""Loading, settings, replacement and refusals, through the daemon's API."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import grpc
import pytest

from bpfd.v1 import common_pb2, maps_pb2, objects_pb2, programs_pb2
from tests.kernel.api import PINNED, SWITCHES, Api, eventually, map_ref, program, refused
from tests.kernel.clang import compiled
from tests.kernel.conftest import RunningDaemon

PACKET = bytes(64)


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


def run(api: Api, where: str) -> int:
    """Return value of one test run."""
    request = programs_pb2.TestRunRequest(program=program(where), data=PACKET)
    return api.programs.TestRun(request).return_value


def runs(api: Api, where: str, version: int) -> int:
    """What obj_runs says of a version; 0: nothing."""
    reply = api.maps.Lookup(
        maps_pb2.LookupRequest(map=map_ref(where), keys=struct.pack("=I", version))
    )
    return int(struct.unpack("=Q", reply.values[:8])[0]) if reply.found == b"\1" else 0


def test_load_reports_what_the_kernel_has(api: Api) -> None:
    with api.session() as lifetime:
        loaded = api.load("one", compiled("objects"), lifetime).object
        sections = {item.name: item.section for item in loaded.programs}
        assert sections == {"count_packets": "xdp", "count_switches": "raw_tp/sched_switch"}
        assert {item.name for item in loaded.maps} == {"obj_runs", ".rodata"}
        shown = subprocess.run(
            ["bpftool", "prog", "show", "id", str(loaded.programs[0].id)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "xdp" in shown
        assert "count_packets" in shown
        assert run(api, "one/count_packets") == 2
        assert runs(api, "one/obj_runs", 1) == 1


def test_settings(api: Api) -> None:
    options = objects_pb2.LoadOptions(
        maps=[objects_pb2.MapSetting(name="obj_runs", max_entries=99)],
        programs=[objects_pb2.ProgramSetting(name="count_switches", load=False)],
        constants=[
            objects_pb2.Constant(map=".rodata", offset=0, value=struct.pack("=I", 1)),
        ],
        log_level=1,
    )
    with api.session() as lifetime:
        response = api.load("one", compiled("objects"), lifetime, options=options)
        assert [item.name for item in response.object.programs] == ["count_packets"]
        found = api.maps.Get(maps_pb2.GetMapRequest(map=map_ref("one/obj_runs")))
        assert found.max_entries == 99
        assert run(api, "one/count_packets") == 1
        assert "processed" in response.logs[0].log


@pytest.mark.parametrize("how", ["id", "member"])
def test_reuse_of_a_map(api: Api, how: str) -> None:
    with api.session() as lifetime:
        first = api.load("one", compiled("objects"), lifetime).object
        number = next(item.id for item in first.maps if item.name == "obj_runs")
        reuse = map_ref("one/obj_runs") if how == "member" else common_pb2.MapRef(id=number)
        options = objects_pb2.LoadOptions(
            maps=[objects_pb2.MapSetting(name="obj_runs", reuse=reuse)]
        )
        second = api.load("two", compiled("objects", "VERSION=2"), lifetime, options=options)
        assert {item.id for item in second.object.maps if item.reused} == {number}
        run(api, "one/count_packets")
        run(api, "two/count_packets")
        assert (runs(api, "one/obj_runs", 1), runs(api, "one/obj_runs", 2)) == (1, 1)


def test_pin_by_name_is_shared_and_goes_with_its_object(
    api: Api, daemon: RunningDaemon
) -> None:
    bpffs = daemon.bpffs
    elf = compiled("objects", "PIN_BY_NAME")
    one = api.load("one", elf, PINNED).object
    assert (bpffs / "obj_shared").exists()
    two = api.load("two", elf, PINNED).object
    ids = {item.id for found in (one, two) for item in found.maps if item.name == "obj_shared"}
    assert len(ids) == 1
    api.unload("one")
    assert not api.maps.Get(maps_pb2.GetMapRequest(map=map_ref("two/obj_shared"))).frozen
    api.unload("two")
    assert not (bpffs / "obj_shared").exists()


def test_a_session_pins_nothing(api: Api, daemon: RunningDaemon) -> None:
    with api.session() as lifetime:
        api.load("one", compiled("objects", "PIN_BY_NAME"), lifetime)
        assert not (daemon.bpffs / "obj_shared").exists()


@pytest.mark.parametrize("pinned", [True, False])
def test_replace_keeps_maps_and_links(api: Api, pinned: bool) -> None:
    with api.session() as session:
        lifetime = PINNED if pinned else session
        old = api.load("one", compiled("objects"), lifetime).object
        link = api.attach("one/count_switches", SWITCHES)
        run(api, "one/count_packets")
        new = api.load("one", compiled("objects", "VERSION=2"), lifetime, replace=True).object
        assert {item.id for item in new.programs}.isdisjoint(item.id for item in old.programs)
        assert [item.name for item in new.links] == [link.name]
        run(api, "one/count_packets")
        assert runs(api, "one/obj_runs", 1) >= 1
        assert runs(api, "one/obj_runs", 2) >= 1
        assert api.object_names() == ["one"]
        if pinned:
            assert api.unload("one") == [link.name]


def test_replace_says_which_maps_start_anew(api: Api) -> None:
    with api.session() as lifetime:
        api.load("one", compiled("objects"), lifetime)
        options = objects_pb2.LoadOptions(
            maps=[objects_pb2.MapSetting(name="obj_runs", max_entries=5)]
        )
        reply = api.load("one", compiled("objects"), lifetime, replace=True, options=options)
        assert [line for line in reply.warnings if "obj_runs starts empty" in line]
        found = api.maps.Get(maps_pb2.GetMapRequest(map=map_ref("one/obj_runs")))
        assert found.max_entries == 5


def test_replace_that_cannot_be_leaves_the_old(api: Api) -> None:
    with api.session() as lifetime:
        before = api.load("one", compiled("objects"), lifetime).object
        api.attach("one/count_switches", SWITCHES)
        with refused("invalid_argument") as why:
            api.load("one", compiled("objects", "WITHOUT_SWITCHES"), lifetime, replace=True)
        assert "detach it first" in why.text
        with refused("invalid_argument") as why:
            wider = compiled("objects", "WIDE")
            api.load("one", wider, lifetime, replace=True)
        assert "load under another name" in why.text
        with refused("verifier_rejected"):
            api.load("one", compiled("objects", "REFUSED"), lifetime, replace=True)
        after = api.objects.Get(objects_pb2.GetObjectRequest(name="one"))
        assert [item.id for item in after.programs] == [item.id for item in before.programs]
        assert len(after.links) == 1


def test_verifier_refusal(api: Api) -> None:
    with api.session() as lifetime, refused("verifier_rejected") as why:
        api.load("bad", compiled("objects", "REFUSED"), lifetime)
    assert why.detail.program == "reads_beyond"
    assert "invalid access to packet" in why.detail.log
    assert why.detail.instruction >= 0
    assert why.code is grpc.StatusCode.FAILED_PRECONDITION
    assert api.object_names() == []


def test_unknown_section(api: Api) -> None:
    with api.session() as lifetime, refused("invalid_argument") as why:
        api.load("bad", compiled("objects", "UNKNOWN_SECTION"), lifetime)
    assert "nobody_knows_this" in why.text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"hello", "not an ELF file"),
        (b"", "not an ELF file"),
        (lambda: compiled("objects")[:700], "truncated"),
        (lambda: Path("/bin/true").read_bytes(), "not for BPF"),
    ],
)
def test_what_is_no_object(api: Api, data: object, says: str) -> None:
    elf = data() if callable(data) else data
    assert isinstance(elf, bytes)
    with api.session() as lifetime, refused("invalid_argument") as why:
        api.load("bad", elf, lifetime)
    assert says in why.text


def test_unknown_names_in_settings(api: Api) -> None:
    options = objects_pb2.LoadOptions(maps=[objects_pb2.MapSetting(name="nope")])
    with api.session() as lifetime:
        with refused("invalid_argument") as why:
            api.load("one", compiled("objects"), lifetime, options=options)
        assert "obj_runs" in why.text
        with refused("not_found"):
            api.attach("one/count_packets", SWITCHES)
        api.load("one", compiled("objects"), lifetime)
        with refused("not_found") as why:
            api.attach("one/count_packet", SWITCHES)
        assert why.detail.near[0] == "count_packets"


def test_names_are_unique_and_plain(api: Api) -> None:
    with api.session() as lifetime:
        api.load("one", compiled("objects"), lifetime)
        for name in ("one", "", "../one", "a" * 65, "a/b"):
            with refused("invalid_argument"):
                api.load(name, compiled("objects"), lifetime)
        with refused("invalid_argument") as why:
            api.objects.Load(objects_pb2.LoadRequest(name="two", elf=compiled("objects")))
        assert "lifetime" in why.text


def test_verify_leaves_nothing_and_says_everything(api: Api) -> None:
    response = api.objects.Verify(objects_pb2.VerifyRequest(elf=compiled("objects", "REFUSED")))
    verdicts = {item.log.program: item.accepted for item in response.programs}
    assert verdicts == {"count_packets": True, "count_switches": True, "reads_beyond": False}
    accepted = next(item for item in response.programs if item.accepted)
    assert accepted.log.statistics.processed_insns > 0
    assert api.object_names() == []


def test_a_deadline_ends_the_verifier(api: Api, daemon: RunningDaemon) -> None:
    elf = compiled("objects", "SLOW")
    options = objects_pb2.LoadOptions(log_level=2)  # every state is written: seconds
    request = objects_pb2.VerifyRequest(elf=elf, options=options)
    with pytest.raises(grpc.RpcError) as raised:
        api.objects.Verify(request, timeout=0.2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    before = verifying(daemon.pid)
    assert eventually(lambda: verifying(daemon.pid) == before)


def verifying(pid: int) -> int:
    """Clock ticks that a process spent in the kernel."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[12])
