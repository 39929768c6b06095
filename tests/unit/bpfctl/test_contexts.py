# SPDX-License-Identifier: Apache-2.0
"""Contexts of test runs: words of raw tracepoints, and bytes as they are."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bpfctl.contexts import Contexts, arguments
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.test_runs import Outcome, Settings, TestRunner, _batches

from bpfd.v1 import common_pb2


def test_arguments_of_a_raw_tracepoint() -> None:
    assert arguments(["arg0=5", "arg2=0x10"]) == struct.pack("<3Q", 5, 0, 16)
    assert arguments(["arg0=-1"], ">") == b"\xff" * 8
    for wrong in ("pid=5", "arg12=1", "arg0=x", "arg=1", "arg0"):
        with pytest.raises(InvalidArgument, match="--ctx"):
            arguments([wrong])


def contexts(kind: int, *texts: str, big_endian: bool = False) -> Contexts:
    target: Any = SimpleNamespace(info=lambda: SimpleNamespace(big_endian=big_endian))
    return Contexts(target, common_pb2.KernelProgram(type=kind, name="test"), texts)  # type: ignore[arg-type]


def test_bytes_as_they_are() -> None:
    raw = contexts(common_pb2.PROGRAM_TYPE_XDP, "hex:00 11 22")
    assert raw.bytes_for(b"packet") == b"\0\x11\x22"
    assert contexts(common_pb2.PROGRAM_TYPE_XDP).bytes_for(b"packet") == b""
    both = contexts(common_pb2.PROGRAM_TYPE_XDP, "hex:00", "mark=1")
    with pytest.raises(InvalidArgument, match="alone"):
        both.bytes_for(b"")


def test_words_have_the_byte_order_of_the_target() -> None:
    found = contexts(common_pb2.PROGRAM_TYPE_RAW_TRACEPOINT, "arg0=1", big_endian=True)
    assert found.bytes_for(b"") == bytes(7) + b"\1"
    assert found.decode(bytes(8)) == {}


def runner(kind: int, *context: str, **settings: Any) -> TestRunner:
    made = contexts(kind)
    return TestRunner(made.target, made.program, Settings(**settings), context)


@pytest.mark.parametrize(
    ("kind", "packets", "words"),
    [
        (common_pb2.PROGRAM_TYPE_XDP, False, "--hex, --pcap or --scapy"),
        (common_pb2.PROGRAM_TYPE_SYSCALL, True, "takes none"),
        (common_pb2.PROGRAM_TYPE_SK_LOOKUP, False, "family=2"),
    ],
)
def test_packets_against_the_type(kind: int, packets: bool, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        runner(kind).check(packets)


def test_what_fits_passes() -> None:
    runner(common_pb2.PROGRAM_TYPE_XDP).check(True)
    runner(common_pb2.PROGRAM_TYPE_SYSCALL).check(False)
    # The kernel has the last word on types that are not known here.
    runner(common_pb2.PROGRAM_TYPE_KPROBE).check(True)
    with pytest.raises(InvalidArgument, match="no XDP program"):
        runner(common_pb2.PROGRAM_TYPE_SCHED_CLS, live_frames=True).check(True)


def test_a_request_says_where_and_how() -> None:
    ref = common_pb2.ProgramRef(id=7)
    assert not Settings().request(ref).HasField("netns")
    assert Settings().request(ref).repeat == 0
    assert Settings(netns="blue").request(ref).netns.name == "blue"
    assert Settings(netns="/proc/1/ns/net").request(ref).netns.path == "/proc/1/ns/net"
    assert Settings(repeat=9, cpu=0).request(ref).HasField("cpu")


def test_batches_are_bounded_by_number_and_by_bytes() -> None:
    assert [len(each) for each in _batches([b"x"] * 10_000)] == [4096, 4096, 1808]
    assert [len(each) for each in _batches([bytes(3 << 20)] * 3)] == [1, 1, 1]
    assert [len(each) for each in _batches([bytes(10 << 20), b"x"])] == [1, 1]
    assert list(_batches([])) == []


def outcome(packet: bytes, errno: int = 0) -> Outcome:
    return Outcome(packet, "", 0, 0, packet, b"", errno=errno)


def test_why_the_kernel_refused_a_packet() -> None:
    assert outcome(b"short", 22).error == "shorter than an Ethernet header"
    assert outcome(bytes(64), 22).error == "Invalid argument"
    assert outcome(bytes(64)).error == ""


def test_headers_that_programs_never_see_stay() -> None:
    packet = bytes(range(40))
    given = bytes(14) + packet[14:]
    kept = runner(common_pb2.PROGRAM_TYPE_CGROUP_SKB)._output(packet, given)
    assert kept == packet
    assert runner(common_pb2.PROGRAM_TYPE_SCHED_CLS)._output(packet, given) == given
    assert runner(common_pb2.PROGRAM_TYPE_NETFILTER)._output(packet, b"") == packet


def test_no_types_means_no_fields() -> None:
    """A foreign program without BTF on a kernel without BTF."""

    def nothing() -> None:
        raise NotFound("BTF", "kernel")

    made = contexts(common_pb2.PROGRAM_TYPE_XDP, "ingress_ifindex=1")
    target = cast("Any", made.target)
    target.btf = SimpleNamespace(kernel=nothing)
    assert made.decode(bytes(24)) == {}
    with pytest.raises(NotFound):
        made.bytes_for(b"")
