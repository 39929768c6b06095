# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Objects."""

from __future__ import annotations

from bpfd import work
from bpfd.interceptor import Context
from bpfd.kernel.load_options import Cancel
from bpfd.objects.objects import Objects
from bpfd.services.roles import require_for_types
from bpfd.v1 import objects_pb2, objects_pb2_grpc


class ObjectsService(objects_pb2_grpc.ObjectsServicer):
    """What is loaded together."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def Load(
        self, request: objects_pb2.LoadRequest, context: Context
    ) -> objects_pb2.LoadResponse:
        inspect = require_for_types("loading")

        def load(cancelled: Cancel) -> objects_pb2.LoadResponse:
            return self._objects.load(request, cancelled, inspect)

        return await work.run_cancellable(load, self._objects.undo_load)

    async def Get(
        self, request: objects_pb2.GetObjectRequest, context: Context
    ) -> objects_pb2.Object:
        registry = self._objects.registry
        return registry.message(registry.object(request.name))

    async def List(
        self, request: objects_pb2.ListObjectsRequest, context: Context
    ) -> objects_pb2.ListObjectsResponse:
        return objects_pb2.ListObjectsResponse(objects=self._objects.registry.messages())

    async def Unload(
        self, request: objects_pb2.UnloadRequest, context: Context
    ) -> objects_pb2.UnloadResponse:
        require_for_types("unloading")(self._objects.registry.types_of(request.name))
        links = await work.run(self._objects.unload, request.name)
        return objects_pb2.UnloadResponse(links=links)

    async def Verify(
        self, request: objects_pb2.VerifyRequest, context: Context
    ) -> objects_pb2.VerifyResponse:
        inspect = require_for_types("verifying")

        def verify(cancelled: Cancel) -> objects_pb2.VerifyResponse:
            return self._objects.verify(request, cancelled, inspect)

        return await work.run_cancellable(verify, lambda _: None)
