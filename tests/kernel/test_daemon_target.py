# SPDX-License-Identifier: Apache-2.0
"""Facts of the target, compared with what the machine itself says."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from pathlib import Path

import grpc
import pytest

from bpfd.kernel import info, syscall
from bpfd.kernel.constants import Cmd
from bpfd.v1 import target_pb2, target_pb2_grpc
from tests.kernel.conftest import RunningDaemon

BTF = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture
def target(channel: grpc.Channel) -> target_pb2_grpc.TargetStub:
    return target_pb2_grpc.TargetStub(channel)


def test_facts(target: target_pb2_grpc.TargetStub, daemon: RunningDaemon) -> None:
    found = target.GetTarget(target_pb2.GetTargetRequest())
    assert found.daemon_pid == daemon.pid
    assert found.machine == platform.machine()
    assert found.kernel_release == os.uname().release
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert found.page_size == os.sysconf("SC_PAGE_SIZE")
    assert len(found.online_cpus) == os.cpu_count()
    assert found.possible_cpus >= len(found.online_cpus)
    assert found.kernel_version_code >> 16 == int(os.uname().release.split(".")[0])
    assert found.libbpf_version.startswith("1.")
    assert ("bpf", "/sys/fs/bpf") in {(mount.type, mount.path) for mount in found.mounts}
    assert not found.features
    if BTF.exists():
        assert found.btf_sha256 == hashlib.sha256(BTF.read_bytes()).digest()
        assert found.btf_size == BTF.stat().st_size


def test_clocks_turn_into_times(target: target_pb2_grpc.TargetStub) -> None:
    found = target.GetTarget(target_pb2.GetTargetRequest())
    for epoch, clock in (
        (found.monotonic_epoch, time.CLOCK_MONOTONIC),
        (found.boottime_epoch, time.CLOCK_BOOTTIME),
    ):
        now = epoch.ToNanoseconds() + time.clock_gettime_ns(clock)
        assert abs(now - time.time_ns()) < 50_000_000


def test_features_are_probed_and_say_how(target: target_pb2_grpc.TargetStub) -> None:
    found = target.GetTarget(target_pb2.GetTargetRequest(features=True)).features
    by_name = {feature.name: feature for feature in found}
    assert len(by_name) == len(found) > 60
    assert by_name["program xdp"].supported
    assert by_name["map hash"].supported
    for feature in found:
        assert feature.probe
        assert feature.supported == feature.probe.endswith(": works")


def test_kernel_btf(target: target_pb2_grpc.TargetStub) -> None:
    if not BTF.exists():
        pytest.skip("the kernel has no BTF")
    chunks = list(target.GetBtf(target_pb2.GetBtfRequest()))
    assert (chunks[0].name, chunks[0].split) == ("vmlinux", False)
    assert b"".join(chunk.data for chunk in chunks) == BTF.read_bytes()


def test_btf_by_id(target: target_pb2_grpc.TargetStub) -> None:
    from bpfd.kernel import probe

    fd = probe.small_btf()
    try:
        data, _, _ = info.btf_data(fd)
        number = next(each for each in syscall.ids(Cmd.BTF_GET_NEXT_ID) if _btf(each) == data)
        chunks = list(target.GetBtf(target_pb2.GetBtfRequest(id=number)))
    finally:
        os.close(fd)
    assert b"".join(chunk.data for chunk in chunks) == data
    assert not chunks[0].split


def _btf(number: int) -> bytes:
    try:
        fd = syscall.fd_by_id(Cmd.BTF_GET_FD_BY_ID, number)
    except FileNotFoundError:
        return b""
    try:
        return info.btf_data(fd)[0]
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "request_",
    [target_pb2.GetBtfRequest(id=0xFFFFFF), target_pb2.GetBtfRequest(module="no/../such")],
)
def test_btf_that_is_not_there(
    target: target_pb2_grpc.TargetStub, request_: target_pb2.GetBtfRequest
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(target.GetBtf(request_))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_kallsyms(target: target_pb2_grpc.TargetStub) -> None:
    def names(module: str) -> list[bytes]:
        chunks = target.GetKallsyms(target_pb2.GetKallsymsRequest(module=module))
        return b"".join(chunk.data for chunk in chunks).splitlines()

    everything = names("")
    kernel = names("vmlinux")
    assert set(kernel) <= set(everything)
    assert any(line.split()[2] == b"__x64_sys_getpid" or b"getpid" in line for line in kernel)
    assert not any(b"[" in line for line in kernel)
    assert names("no_such_module") == []


def test_functions(target: target_pb2_grpc.TargetStub) -> None:
    chunks = target.ListFunctions(target_pb2.ListFunctionsRequest(pattern="tcp_v4_conn*"))
    names = {function.name for chunk in chunks for function in chunk.functions}
    assert "tcp_v4_connect" in names
    assert all(name.startswith("tcp_v4_conn") for name in names)


def test_tracepoints_with_format(target: target_pb2_grpc.TargetStub) -> None:
    request = target_pb2.ListTracepointsRequest(pattern="sched/sched_sw*", format=True)
    found = [each for chunk in target.ListTracepoints(request) for each in chunk.tracepoints]
    (switch,) = [each for each in found if each.name == "sched_switch"]
    assert switch.category == "sched"
    assert f"ID: {switch.id}\n" in switch.format
    assert "field:" in switch.format
    everything = target.ListTracepoints(target_pb2.ListTracepointsRequest())
    assert sum(len(chunk.tracepoints) for chunk in everything) > 100


def test_processes_with_mappings_and_build_ids(
    target: target_pb2_grpc.TargetStub, daemon: RunningDaemon
) -> None:
    request = target_pb2.ListProcessesRequest(pids=[os.getpid(), daemon.pid], mappings=True)
    found = {
        process.pid: process
        for chunk in target.ListProcesses(request)
        for process in chunk.processes
    }
    ours, theirs = found[os.getpid()], found[daemon.pid]
    assert ours.executable == os.readlink("/proc/self/exe")
    assert ours.parent_pid == os.getppid()
    assert ours.net_namespace == os.stat("/proc/self/ns/net").st_ino
    assert theirs.parent_pid == os.getpid()
    assert theirs.comm == "bpfd"
    assert "serve" in theirs.arguments
    assert 0 <= theirs.started_at.ToNanoseconds() / 1e9 <= time.time() + 1
    libc = [each for each in ours.mappings if "/libc.so" in each.path]
    assert libc
    assert libc[0].inode == os.stat(libc[0].path).st_ino
    assert len(libc[0].build_id) == 20
    everything = target.ListProcesses(target_pb2.ListProcessesRequest())
    assert 1 in {process.pid for chunk in everything for process in chunk.processes}


def test_a_process_that_is_not_there(target: target_pb2_grpc.TargetStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(target.ListProcesses(target_pb2.ListProcessesRequest(pids=[0x3FFFFF])))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
