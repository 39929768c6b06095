# SPDX-License-Identifier: Apache-2.0
"""What the machine is and can do."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc.aio

from bpfd import __version__, security
from bpfd.daemon import Daemon
from bpfd.kernel import host, libbpf, mounts
from bpfd.v1 import target_pb2, target_pb2_grpc

API_MINOR = 1
"""Grows when messages or calls are added, within package bpfd.v1."""

Context = grpc.aio.ServicerContext[Any, Any]


class TargetService(target_pb2_grpc.TargetServicer):
    """The service `Target`."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._host = host.host()

    async def GetTarget(
        self, request: target_pb2.GetTargetRequest, context: Context
    ) -> target_pb2.TargetInfo:
        """Facts, and features when they are asked for."""
        info = await asyncio.to_thread(self._facts)
        info.role = str(security.caller().role)
        return info

    def _facts(self) -> target_pb2.TargetInfo:
        facts = self._host
        info = target_pb2.TargetInfo(
            api_minor=API_MINOR,
            daemon_version=__version__,
            daemon_pid=os.getpid(),
            hostname=facts.hostname,
            machine=facts.machine,
            kernel_release=facts.kernel_release,
            kernel_version=facts.kernel_version,
            kernel_version_code=facts.kernel_version_code,
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
        )
        for mount in mounts.mounts():
            info.mounts.add(type=mount.type, path=mount.path, read_only=mount.read_only)
        if digest := host.kernel_btf_digest():
            info.btf_sha256, info.btf_size = digest.sha256, digest.size
        clocks = host.clocks()
        info.monotonic_epoch.FromNanoseconds(clocks.monotonic_epoch)
        info.boottime_epoch.FromNanoseconds(clocks.boottime_epoch)
        return info
