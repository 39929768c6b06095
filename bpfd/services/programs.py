# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from bpfd import listing, programs, work
from bpfd.errors import InvalidArgument
from bpfd.interceptor import Context
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2, programs_pb2, programs_pb2_grpc

_MIN_INTERVAL_SECONDS = 0.1


class ProgramsService(programs_pb2_grpc.ProgramsServicer):
    """Every program of the kernel."""

    def __init__(self, objects: Objects) -> None:
        self._registry = objects.registry

    async def List(
        self, request: programs_pb2.ListProgramsRequest, context: Context
    ) -> programs_pb2.ListProgramsResponse:
        found = await work.run(
            listing.programs, self._registry, set(request.types), request.owners
        )
        return programs_pb2.ListProgramsResponse(programs=found)

    async def Get(
        self, request: programs_pb2.GetProgramRequest, context: Context
    ) -> common_pb2.KernelProgram:
        return await work.run(listing.program, self._registry, request.program, request.owners)

    async def Dump(
        self, request: programs_pb2.DumpProgramRequest, context: Context
    ) -> programs_pb2.DumpProgramResponse:
        return await work.run(programs.dump, self._registry, request)

    async def TestRun(
        self, request: programs_pb2.TestRunRequest, context: Context
    ) -> programs_pb2.TestRunResponse:
        return await work.run(programs.test_run, self._registry, request)

    async def EnableStats(
        self, request: programs_pb2.EnableStatsRequest, context: Context
    ) -> AsyncIterator[programs_pb2.ProgramStats]:
        seconds = request.interval.ToTimedelta().total_seconds() or 1.0
        if seconds < _MIN_INTERVAL_SECONDS:
            raise InvalidArgument("interval", f"at least {_MIN_INTERVAL_SECONDS} s")
        with programs.statistics():
            while True:
                yield programs_pb2.ProgramStats(programs=await work.run(programs.run_times))
                await asyncio.sleep(seconds)
