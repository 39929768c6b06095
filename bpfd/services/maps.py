# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Maps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from bpfd import work
from bpfd.interceptor import Context
from bpfd.kernel.allocator import bulk
from bpfd.kernel.load_options import Cancel, Cancelled
from bpfd.kernel.map_io import Cancelled as MapCancelled
from bpfd.maps import dump, entries, listing, memory, pins
from bpfd.maps.watch import Watch, interval
from bpfd.objects.objects import Objects
from bpfd.services.roles import require_for_map, require_for_types
from bpfd.v1 import common_pb2, maps_pb2, maps_pb2_grpc, objects_pb2

Request = TypeVar("Request")
Response = TypeVar("Response")


class MapsService(maps_pb2_grpc.MapsServicer):
    """Every map of the kernel."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._closing = asyncio.Event()

    async def List(
        self, request: maps_pb2.ListMapsRequest, context: Context
    ) -> maps_pb2.ListMapsResponse:
        types = {int(each) for each in request.types}
        found = await work.run(listing.maps, self._objects, types, request.owners)
        return maps_pb2.ListMapsResponse(maps=found)

    async def Get(
        self, request: maps_pb2.GetMapRequest, context: Context
    ) -> common_pb2.KernelMap:
        return await work.run(listing.one, self._objects, request.map, request.owners)

    async def Create(
        self, request: maps_pb2.CreateMapRequest, context: Context
    ) -> objects_pb2.Object:
        load = objects_pb2.LoadRequest(
            name=request.object,
            lifetime=request.lifetime,
            spec=objects_pb2.ObjectSpec(maps=[request.map], btf=request.btf),
        )
        inspect = require_for_types("creating")
        response = await work.run_cancellable(
            lambda cancelled: self._objects.load(load, cancelled, inspect),
            self._objects.undo_load,
        )
        return response.object

    async def Lookup(
        self, request: maps_pb2.LookupRequest, context: Context
    ) -> maps_pb2.LookupResponse:
        return await self._run(entries.lookup, request)

    async def Update(
        self, request: maps_pb2.UpdateRequest, context: Context
    ) -> maps_pb2.UpdateResponse:
        check = require_for_map(self._objects.registry, "writing")

        def update(
            objects: Objects, request: maps_pb2.UpdateRequest, cancelled: Cancel
        ) -> maps_pb2.UpdateResponse:
            check(request.map)
            return entries.update(objects, request, cancelled)

        return await self._run(update, request)

    async def Delete(
        self, request: maps_pb2.DeleteRequest, context: Context
    ) -> maps_pb2.DeleteResponse:
        check = require_for_map(self._objects.registry, "deleting from")

        def delete(
            objects: Objects, request: maps_pb2.DeleteRequest, cancelled: Cancel
        ) -> maps_pb2.DeleteResponse:
            check(request.map)
            return entries.delete(objects, request, cancelled)

        return await self._run(delete, request)

    async def Submit(
        self, request: maps_pb2.SubmitRequest, context: Context
    ) -> maps_pb2.SubmitResponse:
        check = require_for_map(self._objects.registry, "writing")

        def submit() -> maps_pb2.SubmitResponse:
            check(request.map)
            return memory.submit(self._objects, request)

        return await work.run(submit)

    async def ReadArena(
        self, request: maps_pb2.ReadArenaRequest, context: Context
    ) -> maps_pb2.ReadArenaResponse:
        return await work.run(memory.read_arena, self._objects, request)

    async def WriteArena(
        self, request: maps_pb2.WriteArenaRequest, context: Context
    ) -> maps_pb2.WriteArenaResponse:
        check = require_for_map(self._objects.registry, "writing")

        def write() -> maps_pb2.WriteArenaResponse:
            check(request.map)
            return memory.write_arena(self._objects, request)

        return await work.run(write)

    async def _run(
        self, function: Callable[[Objects, Request, Cancel], Response], request: Request
    ) -> Response:
        """In a thread; what was written before a cancel stays written."""

        def work_on(cancelled: Cancel) -> Response:
            try:
                return function(self._objects, request, cancelled)
            except MapCancelled:
                raise Cancelled from None

        return await work.run_cancellable(work_on, lambda _: None)

    async def Dump(
        self, request: maps_pb2.DumpRequest, context: Context
    ) -> AsyncIterator[maps_pb2.DumpChunk]:
        opened = await work.run_cancellable(
            lambda _: dump.Opened(self._objects, request), dump.Opened.close
        )
        stream = dump.Stream()
        try:
            with bulk():
                yield maps_pb2.DumpChunk(map=opened.info)
                for read in opened.readers:
                    stream.start(read)
                async for message in stream.messages():
                    # Encoded already; see bpfd.wire.SERIALIZERS.
                    yield message  # type: ignore[misc]
        finally:
            try:
                await stream.close()
            finally:
                opened.close()

    async def Watch(
        self, request: maps_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[maps_pb2.WatchChunk]:
        pause = interval(request)
        watch = await work.run_cancellable(lambda _: Watch(self._objects, request), Watch.close)
        try:
            yield maps_pb2.WatchChunk(map=watch.info)
            while not self._closing.is_set():
                for chunk in await work.run(watch.look):
                    yield chunk
                await _wait(self._closing, pause)
        finally:
            watch.close()

    async def Pin(
        self, request: maps_pb2.PinMapRequest, context: Context
    ) -> maps_pb2.PinMapResponse:
        await work.run(pins.pin, self._objects, request.map, request.path)
        return maps_pb2.PinMapResponse()

    async def Unpin(
        self, request: maps_pb2.UnpinMapRequest, context: Context
    ) -> maps_pb2.UnpinMapResponse:
        await work.run(pins.unpin, self._objects, request.path)
        return maps_pb2.UnpinMapResponse()

    async def close(self, reason: str) -> None:
        """Watches end; dumps come to their end by themselves."""
        self._closing.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
