# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Links."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bpfd import listing, work
from bpfd.attachments.snapshot import snapshot
from bpfd.interceptor import Context
from bpfd.kernel.load_options import Cancel
from bpfd.objects.objects import Objects
from bpfd.services.roles import require_for_program
from bpfd.streams import from_blocking
from bpfd.v1 import links_pb2, links_pb2_grpc, objects_pb2


class LinksService(links_pb2_grpc.LinksServicer):
    """Attached programs."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._links = objects.links

    async def Attach(
        self, request: links_pb2.AttachRequest, context: Context
    ) -> objects_pb2.Link:
        inspect = require_for_program("attaching")

        def attach(cancelled: Cancel) -> objects_pb2.Link:
            return self._links.attach(request, cancelled, inspect)

        return await work.run_cancellable(attach, self._links.undo_attach)

    async def Update(
        self, request: links_pb2.UpdateLinkRequest, context: Context
    ) -> links_pb2.UpdateLinkResponse:
        inspect = require_for_program("attaching")
        return await work.run(self._links.update, request, inspect)

    async def Detach(
        self, request: links_pb2.DetachRequest, context: Context
    ) -> links_pb2.DetachResponse:
        inspect = require_for_program("detaching")
        link = await work.run(self._links.detach, request, inspect)
        return links_pb2.DetachResponse(link=link)

    async def List(
        self, request: links_pb2.ListLinksRequest, context: Context
    ) -> links_pb2.ListLinksResponse:
        response = links_pb2.ListLinksResponse(links=self._links.list())
        if request.kernel:
            response.kernel_links.extend(await work.run(listing.links, self._objects.registry))
        return response

    async def ListAttachments(
        self, request: links_pb2.ListAttachmentsRequest, context: Context
    ) -> links_pb2.ListAttachmentsResponse:
        return await work.run(snapshot, self._objects, request)

    async def Read(
        self, request: links_pb2.ReadLinkRequest, context: Context
    ) -> AsyncIterator[links_pb2.ReadLinkChunk]:
        async for data in from_blocking(lambda: self._links.read(request)):
            yield links_pb2.ReadLinkChunk(data=data)
