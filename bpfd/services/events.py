# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from bpfd import work
from bpfd.events import settings as event_settings
from bpfd.events.fan_out import Reader, Subscriber
from bpfd.events.settings import Opened, Settings, Target
from bpfd.events.trace_lines import TraceLines
from bpfd.interceptor import Context
from bpfd.kernel.allocator import bulk
from bpfd.objects.objects import Objects
from bpfd.v1 import events_pb2, events_pb2_grpc


class EventsService(events_pb2_grpc.EventsServicer):
    """Streams of records and lines."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._readers: dict[int, Reader] = {}
        self._opening = asyncio.Lock()
        self._lines = TraceLines()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = ""
        self._begun = 0
        self._gone_meanwhile: set[int] = set()
        """Maps that were unloaded while a subscription had found but not opened its map."""
        objects.on_unload.append(self._unloaded)

    async def Subscribe(
        self, request: events_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[events_pb2.EventBatch]:
        settings = event_settings.validate(request)
        subscriber = await self._subscribe(request, settings)
        try:
            with bulk():
                # Tells the client that every record from now on reaches it or is counted.
                await context.send_initial_metadata(())
                while (message := await subscriber.next()) is not None:
                    # Encoded already; see bpfd.wire.SERIALIZERS.
                    yield message  # type: ignore[misc]
                await self._say_why(context)
        finally:
            subscriber.close()

    async def _subscribe(
        self, request: events_pb2.SubscribeRequest, settings: Settings
    ) -> Subscriber:
        self._loop = asyncio.get_running_loop()
        self._begun += 1
        try:
            return await self._subscribe_to(request, settings)
        finally:
            self._begun -= 1
            if not self._begun:
                self._gone_meanwhile.clear()

    async def _subscribe_to(
        self, request: events_pb2.SubscribeRequest, settings: Settings
    ) -> Subscriber:
        target = await work.run_cancellable(
            lambda _: event_settings.resolve(self._objects, request, settings), Target.close
        )
        try:
            async with self._opening:
                reader = self._readers.get(target.map_id)
                if reader is None:
                    opened = await work.run_cancellable(lambda _: target.open(), Opened.undo)
                    reader = self._readers[target.map_id] = self._reader(opened)
                subscriber = reader.subscribe(
                    settings.queue_bytes, settings.batch_bytes, settings.poll_interval
                )
                if target.map_id in self._gone_meanwhile:
                    reader.finish()
                return subscriber
        finally:
            target.close()

    def _reader(self, opened: Opened) -> Reader:
        def closed() -> None:
            opened.close()
            if self._readers.get(opened.map_id) is reader:
                del self._readers[opened.map_id]

        reader = Reader(opened.source, opened.count_lost, closed)
        return reader

    def _unloaded(self, maps: set[int]) -> None:
        """Called in a worker thread, before an object's maps are closed."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._finish, maps)

    def _finish(self, maps: set[int]) -> None:
        if self._begun:
            self._gone_meanwhile |= maps
        for number in maps:
            # Whoever subscribes from now on meets the map anew, if it still exists.
            if (reader := self._readers.get(number)) is not None:
                reader.finish()

    async def TracePipe(
        self, request: events_pb2.TracePipeRequest, context: Context
    ) -> AsyncIterator[events_pb2.TracePipeChunk]:
        stream = await self._lines.subscribe()
        try:
            await context.send_initial_metadata(())
            while (lines := await stream.next()) is not None:
                yield events_pb2.TracePipeChunk(lines=lines)
            await self._say_why(context)
        finally:
            stream.close()

    async def _say_why(self, context: Context) -> None:
        """A stream that ended by itself: its map was unloaded, or it is not the end."""
        if self._closing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, self._closing)

    async def close(self, reason: str) -> None:
        """Streams end when what is in the rings was delivered."""
        self._closing = reason
        self._finish(set(self._readers))
        self._lines.finish()
