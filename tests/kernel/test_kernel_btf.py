# SPDX-License-Identifier: Apache-2.0
"""Kernels without BTF and kernels of 32 bits, on this one: what is sent along is used, and
reads of pointers and longs take what a 32-bit kernel has of them."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import grpc
import pytest

from bpfd.v1 import maps_pb2, objects_pb2, programs_pb2
from tests.kernel.api import Api, map_ref, program, refused
from tests.kernel.clang import PROGRAMS, compiled, objects_folder

PACKET = bytes(64)


@pytest.fixture
def api(channel: grpc.Channel) -> Api:
    return Api(channel)


def made_up(*members: str, order: str = "=") -> bytes:
    """Raw BTF of `struct bpfd_made_up` with these ints."""
    strings = b"\0int\0bpfd_made_up\0"
    types = struct.pack(f"{order}IIII", 1, 1 << 24, 4, 0x01000020)
    types += struct.pack(f"{order}III", 5, 4 << 24 | len(members), 4 * len(members))
    for index, name in enumerate(members):
        types += struct.pack(f"{order}III", len(strings), 1, 32 * index)
        strings += name.encode() + b"\0"
    sizes = (0, len(types), len(types), len(strings))
    return struct.pack(f"{order}HBBI4I", 0xEB9F, 1, 0, 24, *sizes) + types + strings


def offset_of_moved(api: Api, btf: bytes, **fields: bool) -> int:
    with api.session() as lifetime:
        options = objects_pb2.LoadOptions(kernel_btf=btf)
        api.load("one", compiled("kernel_btf"), lifetime, options=options, **fields)
        request = programs_pb2.TestRunRequest(
            program=program("one/offset_of_moved"), data=PACKET
        )
        return api.programs.TestRun(request).return_value


def test_relocations_are_resolved_by_what_is_sent(api: Api) -> None:
    before = len(os.listdir("/tmp"))
    assert offset_of_moved(api, made_up("first", "moved")) == 4
    assert offset_of_moved(api, made_up("first", "new", "newer", "moved")) == 12
    assert offset_of_moved(api, made_up("moved", "first")) == 0
    if os.path.exists("/sys/kernel/btf/vmlinux"):
        assert offset_of_moved(api, b"") == 0
    assert len(os.listdir("/tmp")) <= before + 1


def test_a_new_version_brings_its_own(api: Api) -> None:
    with api.session() as lifetime:
        for btf, offset in (
            (made_up("first", "moved"), 4),
            (made_up("first", "new", "moved"), 8),
        ):
            options = objects_pb2.LoadOptions(kernel_btf=btf)
            elf = compiled("kernel_btf")
            api.load("one", elf, lifetime, options=options, replace=True)
            request = programs_pb2.TestRunRequest(
                program=program("one/offset_of_moved"), data=PACKET
            )
            assert api.programs.TestRun(request).return_value == offset


def test_verify_takes_it_too(api: Api) -> None:
    options = objects_pb2.LoadOptions(kernel_btf=made_up("first", "moved"), log_level=2)
    request = objects_pb2.VerifyRequest(elf=compiled("kernel_btf"), options=options)
    answer = api.objects.Verify(request)
    assert [item.accepted for item in answer.programs] == [True]
    assert "= 4" in answer.programs[0].log.log


OTHER = ">" if sys.byteorder == "little" else "<"


@pytest.mark.parametrize(
    ("btf", "why"),
    [
        (b"\x7fELF" + bytes(100), "not BTF"),
        (made_up("first", "moved")[:-3], "truncated"),
        (made_up("first", "moved", order=OTHER), "other byte order"),
        (bytes(32 * 1024 * 1024 + 1), "at most"),
    ],
)
def test_what_is_no_btf_is_refused_before_anything_is_done(
    api: Api, btf: bytes, why: str
) -> None:
    options = objects_pb2.LoadOptions(kernel_btf=btf)
    with api.session() as lifetime:
        with refused("invalid_argument") as refusal:
            api.load("one", compiled("kernel_btf"), lifetime, options=options)
        assert refusal.detail.field == "options.kernel_btf"
        assert why in refusal.text
        with refused("invalid_argument"):
            api.objects.Verify(
                objects_pb2.VerifyRequest(elf=compiled("kernel_btf"), options=options)
            )
        assert api.object_names() == []


def test_sound_headers_around_nonsense(api: Api) -> None:
    """libbpf has the last word on what stands between."""
    types = struct.pack("=III", 0xFFFF, 31 << 24, 0)
    sizes = (0, len(types), len(types), 1)
    btf = struct.pack("=HBBI4I", 0xEB9F, 1, 0, 24, *sizes) + types + b"\0"
    with api.session() as lifetime, refused("invalid_argument") as refusal:
        options = objects_pb2.LoadOptions(kernel_btf=btf)
        api.load("one", compiled("kernel_btf"), lifetime, options=options)
    assert "BTF" in refusal.text


def target32() -> bytes:
    """The program as it is compiled for a 32-bit target."""
    if objects_folder() is not None:
        pytest.skip("a 32-bit kernel is played on the workstation")
    from bpfctl.build import TargetFacts, build

    facts = TargetFacts("armv7l", False, 32, "")
    built = build(Path(PROGRAMS) / "target32.bpf.c", facts, lambda: b"")
    assert built.warnings == ""
    return built.object


SLOTS = struct.Struct("<IIIIiIIIIIQII8s")
VALUES = struct.Struct("<7QqqQQQQ8sqqQ")


@pytest.mark.skipif(sys.byteorder == "big", reason="the values are little-endian")
def test_reads_of_32_bit_memory(api: Api) -> None:
    """The upper half of each slot is a neighbour, as it is in the memory of such a kernel."""
    junk = 0xDEADBEEF
    content = SLOTS.pack(
        *(0xC0001000, junk, 0xFFFFF000, junk, -2, junk),
        *(7, 8, 1, 2, 0x1122334455667788, 0, junk, b"a string"[:7]),
    )
    zero = struct.pack("<I", 0)
    with api.session() as lifetime:
        api.load("one", target32(), lifetime)
        memory = maps_pb2.UpdateRequest(map=map_ref("one/memory"), keys=zero, values=content)
        api.maps.Update(memory)
        request = programs_pb2.TestRunRequest(program=program("one/reads"))
        assert api.programs.TestRun(request).return_value == 1
        context = struct.pack("<QQQ", 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC)
        request = programs_pb2.TestRunRequest(program=program("one/arguments"), context=context)
        api.programs.TestRun(request)
        raw = api.maps.Lookup(maps_pb2.LookupRequest(map=map_ref("one/seen"), keys=zero))
    found = VALUES.unpack(raw.values[: VALUES.size])
    (pointer, into, plain, number, number_plain, word, through, negative, negative_plain) = (
        found[:9]
    )
    words, wide, untyped, half, text, signed, integer, unsigned = found[9:]
    assert (pointer, into, plain) == (0xC0001000,) * 3
    assert (number, number_plain, half) == (0xFFFFF000,) * 3
    assert (negative, negative_plain) == (-2, -2)
    assert word == 7
    assert through == 0
    # What is an array, is wide, or has no type, is read as it was asked for.
    assert words == 2 << 32 | 1
    assert wide == 0x1122334455667788
    assert untyped == junk << 32 | 0xFFFFF000
    assert text == b"a strin\0"
    assert (signed, integer, unsigned) == (-2, -3, 0xFFFFFFFC)


def test_nothing_of_it_is_kept(api: Api) -> None:
    """BTF that comes along belongs to the load: nothing of it is kept by the daemon."""
    descriptors = f"/proc/{_daemon_pid(api)}/fd"
    before = len(os.listdir(descriptors))
    for _ in range(3):
        assert offset_of_moved(api, made_up("first", "moved")) == 4
    assert len(os.listdir(descriptors)) <= before


def _daemon_pid(api: Api) -> int:
    from bpfd.v1 import target_pb2, target_pb2_grpc

    stub = target_pb2_grpc.TargetStub(api.channel)
    return stub.GetTarget(target_pb2.GetTargetRequest()).daemon_pid


def test_of_an_object_that_asks_for_what_is_not_there(api: Api) -> None:
    """All that is left for it may be the type that tells the size of pointers."""
    strings = b"\0unsigned long\0"
    types = struct.pack("=IIII", 1, 1 << 24, 8, 64)
    for part in (types, b""):
        sizes = (0, len(part), len(part), len(strings))
        btf = struct.pack("=HBBI4I", 0xEB9F, 1, 0, 24, *sizes) + part + strings
        assert offset_of_moved(api, btf) == 0
