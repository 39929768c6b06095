# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Target: what the machine is and can do."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator

from bpfd import __version__, security, sessions, work
from bpfd.errors import NotFound
from bpfd.interceptor import Context
from bpfd.kernel import host, kernel_symbols, libbpf, mounts, processes, tracepoints
from bpfd.maps import check as map_check
from bpfd.metrics.exporter import Exporter
from bpfd.objects import elf_check, registry
from bpfd.streams import batched, from_blocking
from bpfd.v1 import target_pb2, target_pb2_grpc

API_MINOR = 2
"""Grows when messages or calls are added, within package bpfd.v1."""

CHUNK_BYTES = 1 << 20
"""Of the page of metrics in one message."""

_MET = {None: target_pb2.MET_UNSPECIFIED, True: target_pb2.MET_YES, False: target_pb2.MET_NO}


class TargetService(target_pb2_grpc.TargetServicer):
    """Facts of the machine; nothing here changes anything."""

    def __init__(self, held: sessions.Sessions, exporter: Exporter) -> None:
        self._host = host.host()
        self._sessions = held
        self._exporter = exporter

    async def GetTarget(
        self, request: target_pb2.GetTargetRequest, context: Context
    ) -> target_pb2.TargetInfo:
        info = await work.run(_facts, self._host)
        info.role = str(security.caller().role)
        info.open_sessions = self._sessions.count
        if request.features:
            # Half a megabyte that an idle daemon does without.
            from bpfd import features

            for found in await work.run(features.every):
                info.features.add(
                    name=found.name,
                    supported=found.supported,
                    probe=found.probe,
                    since=found.since,
                    needs=found.needs,
                )
        return info

    async def GetMetrics(
        self, request: target_pb2.GetMetricsRequest, context: Context
    ) -> AsyncIterator[target_pb2.MetricsChunk]:
        page = await self._exporter.page()
        for at in range(0, len(page), CHUNK_BYTES):
            yield target_pb2.MetricsChunk(data=page[at : at + CHUNK_BYTES])

    async def GetBtf(
        self, request: target_pb2.GetBtfRequest, context: Context
    ) -> AsyncIterator[target_pb2.BtfChunk]:
        if request.WhichOneof("which") == "id":
            data, name, split = await work.run(kernel_symbols.btf_by_id, request.id)
            pieces = iter([data])
        else:
            name = request.module or "vmlinux"
            split = name != "vmlinux"
            pieces = await work.run(kernel_symbols.kernel_btf, name)
        first = True
        async for piece in from_blocking(lambda: pieces):
            chunk = target_pb2.BtfChunk(data=piece)
            if first:
                chunk.split, chunk.name, first = split, name, False
            yield chunk

    async def GetKallsyms(
        self, request: target_pb2.GetKallsymsRequest, context: Context
    ) -> AsyncIterator[target_pb2.KallsymsChunk]:
        module = kernel_symbols.MODULES if request.only_modules else request.module
        async for lines in from_blocking(lambda: kernel_symbols.kallsyms(module)):
            yield target_pb2.KallsymsChunk(data=lines)

    async def ListFunctions(
        self, request: target_pb2.ListFunctionsRequest, context: Context
    ) -> AsyncIterator[target_pb2.ListFunctionsChunk]:
        pattern = request.pattern
        async for batch in from_blocking(
            lambda: batched(kernel_symbols.functions(pattern), 4096)
        ):
            chunk = target_pb2.ListFunctionsChunk()
            for name, module in batch:
                chunk.functions.add(name=name, module=module)
            yield chunk

    async def ListTracepoints(
        self, request: target_pb2.ListTracepointsRequest, context: Context
    ) -> AsyncIterator[target_pb2.ListTracepointsChunk]:
        def find() -> Iterator[list[target_pb2.TracepointInfo]]:
            return batched(_tracepoints(request.pattern, request.format), 256)

        async for batch in from_blocking(find):
            yield target_pb2.ListTracepointsChunk(tracepoints=batch)

    async def Preflight(
        self, request: target_pb2.PreflightRequest, context: Context
    ) -> target_pb2.PreflightResponse:
        # As with features: an idle daemon does without.
        from bpfd import preflight

        response = target_pb2.PreflightResponse()
        for found in await work.run(preflight.answers, request.needs):
            response.answers.add(
                met=_MET[found.met],
                probe=found.probe,
                since=found.since,
                needs=found.needs,
                near=found.near,
            )
        return response

    async def ListProcesses(
        self, request: target_pb2.ListProcessesRequest, context: Context
    ) -> AsyncIterator[target_pb2.ListProcessesChunk]:
        def find() -> Iterator[list[target_pb2.Process]]:
            return batched(_processes(request), 64)

        async for batch in from_blocking(find):
            yield target_pb2.ListProcessesChunk(processes=batch)


def _facts(facts: host.Host) -> target_pb2.TargetInfo:
    info = target_pb2.TargetInfo(
        api_minor=API_MINOR,
        daemon_version=__version__,
        daemon_pid=os.getpid(),
        hostname=facts.hostname,
        machine=facts.machine,
        kernel_release=facts.kernel_release,
        kernel_version=facts.kernel_version,
        kernel_version_code=facts.kernel_version_code,
        kernel_build_id=facts.kernel_build_id,
        operating_system=facts.operating_system,
        boot_id=facts.boot_id,
        big_endian=facts.big_endian,
        pointer_bits=facts.pointer_bits,
        page_size=facts.page_size,
        possible_cpus=facts.possible_cpus,
        online_cpus=host.online_cpus(),
        lockdown=host.lockdown(),
        capabilities=host.capabilities(),
        libbpf_version=libbpf.version(),
        limits=target_pb2.Limits(
            object_bytes=elf_check.MAX_OBJECT_BYTES,
            batch_bytes=map_check.MAX_BYTES,
            batch_entries=map_check.MAX_ENTRIES,
            objects=registry.MAX_OBJECTS,
            sessions=sessions.MAX_SESSIONS,
        ),
    )
    for mount in mounts.mounts():
        info.mounts.add(type=mount.type, path=mount.path, read_only=mount.read_only)
    if digest := host.kernel_btf_digest():
        info.btf_sha256, info.btf_size = digest.sha256, digest.size
    clocks = host.clocks()
    info.monotonic_epoch.FromNanoseconds(clocks.monotonic_epoch)
    info.boottime_epoch.FromNanoseconds(clocks.boottime_epoch)
    return info


def _tracepoints(pattern: str, formats: bool) -> Iterator[target_pb2.TracepointInfo]:
    for found in tracepoints.tracepoints(pattern, formats):
        yield target_pb2.TracepointInfo(
            category=found.category, name=found.name, id=found.id, format=found.format
        )


def _processes(request: target_pb2.ListProcessesRequest) -> Iterator[target_pb2.Process]:
    boot = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    known: dict[tuple[str, int], bytes] = {}
    for pid in request.pids or processes.pids():
        found = processes.process(pid)
        if found is None:
            if request.pids and not request.skip_ended:
                raise NotFound("process", str(pid))
            continue
        message = target_pb2.Process(
            pid=found.pid,
            parent_pid=found.parent_pid,
            uid=found.uid,
            comm=_text(found.comm),
            arguments=map(_text, found.arguments),
            executable=_text(found.executable),
            mount_namespace=found.mount_namespace,
            pid_namespace=found.pid_namespace,
            net_namespace=found.net_namespace,
            cgroup=_text(found.cgroup),
        )
        message.started_at.FromNanoseconds(boot + found.started_ns)
        for each in processes.mappings(pid, known) if request.mappings else ():
            message.mappings.add(
                start=each.start,
                end=each.end,
                file_offset=each.file_offset,
                path=_text(each.path),
                inode=each.inode,
                build_id=each.build_id,
            )
        yield message


def _text(name: str) -> str:
    """Names of the kernel are bytes; protobuf takes sound Unicode only."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
