# SPDX-License-Identifier: Apache-2.0
"""Programs.TestRun and TestRunBatch: packets, contexts, and what the kernel refuses."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Iterator

import grpc
import pytest

from bpfd.kernel import elf_object, netns, spare
from bpfd.kernel.constants import Cmd
from bpfd.kernel.info import LinkInfo, link_info
from bpfd.kernel.load_options import LoadOptions
from bpfd.listing import each_fd
from bpfd.v1 import common_pb2, programs_pb2
from tests.kernel import packets as p
from tests.kernel.api import Api, eventually, program, refused
from tests.kernel.clang import clang, compiled
from tests.kernel.conftest import RunningDaemon

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

UDP = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1000, 53, b"question")))
TCP = p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(1000, 80)))
ICMP = p.ethernet(p.IPV4, p.ipv4(p.ICMP, p.icmp(8)))
DROP, PASS, TX, REDIRECT = 1, 2, 3, 4
ENODEV, EINVAL = 19, 22


@pytest.fixture
def api(daemon: RunningDaemon) -> Iterator[Api]:
    with daemon.channel() as channel:
        api = Api(channel)
        with api.session() as lifetime:
            api.load("runs", compiled("test_runs"), lifetime)
            yield api


def one(api: Api, name: str, **fields: object) -> programs_pb2.TestRunResponse:
    request = programs_pb2.TestRunRequest(program=program(name), **fields)  # type: ignore[arg-type]
    answer: programs_pb2.TestRunResponse = api.programs.TestRun(request, timeout=60)
    return answer


def batch(
    api: Api,
    name: str,
    packets: list[bytes],
    contexts: list[bytes] | None = None,
    **run: object,
) -> list[programs_pb2.PacketRun]:
    request = programs_pb2.TestRunBatchRequest(packets=packets, contexts=contexts or [])
    request.run.CopyFrom(programs_pb2.TestRunRequest(program=program(name), **run))  # type: ignore[arg-type]
    answer: programs_pb2.TestRunBatchResponse = api.programs.TestRunBatch(request, timeout=60)
    return list(answer.runs)


def xdp_context(packet: bytes, ifindex: int) -> bytes:
    """struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue, egress."""
    return struct.pack("=6I", 0, len(packet), 0, ifindex, 0, 0)


def test_every_packet_of_a_batch_has_its_own_outcome(api: Api) -> None:
    udp, tcp, icmp, short = batch(api, "runs/answer", [UDP, TCP, ICMP, b"short"])
    assert (udp.return_value, udp.changed, len(udp.data)) == (TX, True, len(UDP))
    assert udp.data[:12] == UDP[6:12] + UDP[:6]
    assert (tcp.return_value, tcp.changed, tcp.data) == (DROP, False, b"")
    assert (icmp.return_value, len(icmp.data)) == (TX, len(ICMP) + 20)
    assert short.errno == EINVAL
    assert not any(each.errno for each in (udp, tcp, icmp))


def test_repeats_of_many_packets(api: Api) -> None:
    before = netns.names()
    runs = batch(api, "runs/answer", [UDP, TCP] * 100, repeat=2)
    assert [each.return_value for each in runs] == [TX, DROP] * 100
    assert netns.names() == before


def test_an_xdp_program_is_attached_while_many_calls_repeat_it(owned_names: set[str]) -> None:
    """The kernel waits some 20 ms for each, where the program is attached nowhere."""
    owned_names.add("answer")
    loaded = elf_object.load("spare", compiled("test_runs"), LoadOptions())

    def links() -> list[LinkInfo]:
        own = {each.id for each in loaded.programs.values()}
        with each_fd(Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID) as fds:
            return [info for fd in fds if (info := link_info(fd)).prog_id in own]

    def attached(name: str, calls: int, repeat: int) -> bool:
        program = loaded.programs[name]
        with spare.attached(program.fd, program.type, calls, repeat) as there:
            assert [link.ifindex for link in links()] == ([1] if there else [])
            return there

    home = netns.own()
    try:
        assert attached("answer", 2, 2)
        assert not attached("answer", 1000, 1)
        assert not attached("answer", 1, 1000)
        assert not attached("mark", 1000, 1000)
        assert not attached("behind", 1000, 1000)
        assert eventually(lambda: not links())
    finally:
        loaded.close()
    assert netns.own() == home


def test_a_program_for_a_devmap_is_not_run(api: Api) -> None:
    with refused("not_supported"):
        batch(api, "runs/behind", [UDP] * 4)
    with refused("not_supported") as why:
        one(api, "runs/behind", data=UDP)
    assert "devmap" in why.text


def test_each_packet_has_its_own_context(api: Api) -> None:
    contexts = [xdp_context(UDP, 1), xdp_context(TCP, 1), xdp_context(TCP, 4_000_000)]
    one, two, nowhere = batch(api, "runs/by_interface", [UDP, TCP, TCP], contexts)
    assert (one.return_value, two.return_value) == (REDIRECT, REDIRECT)
    assert one.context == contexts[0]
    assert nowhere.errno == ENODEV


def test_a_run_sees_the_interfaces_of_the_namespace(api: Api) -> None:
    name = f"tr-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        pair = ("one", "index", "77", "type", "veth", "peer", "name", "two")
        subprocess.run(["ip", "-n", name, "link", "add", *pair], check=True)
        where = common_pb2.Netns(name=name)
        (here,) = batch(api, "runs/by_interface", [UDP], [xdp_context(UDP, 77)], netns=where)
        assert (here.errno, here.return_value) == (0, 5)
        inode = os.stat(f"/run/netns/{name}").st_ino
        assert netns.own().inode != inode
        (loopback,) = batch(api, "runs/by_interface", [UDP], [xdp_context(UDP, 1)], netns=where)
        assert loopback.return_value == REDIRECT
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    with refused("not_found"):
        batch(api, "runs/by_interface", [UDP], netns=where)


def test_limits_of_a_batch(api: Api) -> None:
    with refused("invalid_argument") as why:
        batch(api, "runs/answer", [b""] * 65537)
    assert "65536" in why.text
    with refused("invalid_argument"):
        batch(api, "runs/answer", [bytes(9 << 20)] * 2)
    with refused("invalid_argument"):
        batch(api, "runs/answer", [UDP, TCP], [bytes(24)])
    with refused("invalid_argument"):
        batch(api, "runs/answer", [UDP], live_frames=True)
    with refused("not_found"):
        batch(api, "runs/nothing", [UDP])
    assert batch(api, "runs/answer", []) == []


def test_types_that_the_kernel_does_not_run(api: Api) -> None:
    with refused("not_supported") as why:
        batch(api, "runs/on_switch", [UDP])
    assert "tracepoint" in why.text
    with refused("kernel_error") as why:
        one(api, "runs/answer", data=b"short")
    assert "at least 14 bytes, this one 5" in why.text


def test_a_packet_that_is_too_large(api: Api) -> None:
    with refused("kernel_error") as why:
        one(api, "runs/mark", data=bytes(70_000))
    assert "70000 bytes may be too large" in why.text


def test_a_long_run_ends_with_its_caller(api: Api, daemon: RunningDaemon) -> None:
    request = programs_pb2.TestRunRequest(
        program=program("runs/mark"), data=UDP, repeat=0xFFFFFFFF
    )
    running = api.programs.TestRun.future(request)
    assert eventually(lambda: busy(daemon.pid))
    running.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        running.result()
    assert eventually(lambda: not busy(daemon.pid))


def busy(pid: int) -> bool:
    """Whether a process computes, on however loaded a machine."""

    def used() -> int:
        with open(f"/proc/{pid}/stat") as file:
            return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))

    before = used()
    time.sleep(0.5)
    return used() - before > 2
