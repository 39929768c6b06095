# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Programs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator

from bpfd import dumping, listing, statistics, test_runs, work
from bpfd.interceptor import Context
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2, programs_pb2, programs_pb2_grpc


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
        return await work.run(dumping.dump, self._registry, request)

    async def TestRun(
        self, request: programs_pb2.TestRunRequest, context: Context
    ) -> programs_pb2.TestRunResponse:
        return await work.run_cancellable(
            functools.partial(test_runs.one, self._registry, request), _keep
        )

    async def TestRunBatch(
        self, request: programs_pb2.TestRunBatchRequest, context: Context
    ) -> programs_pb2.TestRunBatchResponse:
        return await work.run_cancellable(
            functools.partial(test_runs.batch, self._registry, request), _keep
        )

    async def EnableStats(
        self, request: programs_pb2.EnableStatsRequest, context: Context
    ) -> AsyncIterator[programs_pb2.ProgramStats]:
        seconds = statistics.seconds(request.interval)
        with statistics.enabled():
            due = asyncio.get_running_loop().time()
            while True:
                yield await work.run(statistics.sample)
                now = asyncio.get_running_loop().time()
                due = max(due + seconds, now)  # a reader that was late is not made up for
                await asyncio.sleep(due - now)


def _keep(_: object) -> None:
    """A run cannot be taken back."""
