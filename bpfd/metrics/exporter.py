# SPDX-License-Identifier: Apache-2.0
"""One look at all metrics: off the event loop, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from bpfd import work
from bpfd.errors import BpfdError
from bpfd.objects.registry import Registry


class Exporter:
    """Makes the page. What only it needs is imported with the first page."""

    def __init__(
        self,
        registry: Registry,
        served: Mapping[tuple[str, str], int],
        sessions: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._served = served
        self._sessions = sessions
        self._now: asyncio.Task[bytes] | None = None
        self._next: asyncio.Task[bytes] | None = None

    async def page(self) -> bytes:
        """The page as it is now. Those who ask while one is being made share the next one.

        Raises NotSupported.
        """
        if self._now is None or self._now.done():
            self._now, self._next = asyncio.create_task(self._after(None)), None
            return await asyncio.shield(self._now)
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._now))
        return await asyncio.shield(self._next)

    async def _after(self, other: asyncio.Task[bytes] | None) -> bytes:
        if other is not None:
            await asyncio.wait({other})
            self._now, self._next = self._next, None
        return await work.run(self._make, dict(self._served), self._sessions())

    def _make(self, served: Mapping[tuple[str, str], int], sessions: int) -> bytes:
        from bpfd.metrics import collect, own, page
        from bpfd.metrics.declaration import agree
        from bpfd.v1 import common_pb2

        page.load()
        reads: list[collect.Read] = []
        failed: dict[tuple[str, str], str] = {}
        first: dict[str, collect.Read] = {}
        for owner, metric in self._registry.metrics():
            ref = common_pb2.MapRef(
                member=common_pb2.ObjectMember(object=owner, name=metric.map)
            )
            try:
                if metric.name in first:
                    known = first[metric.name]
                    agree(metric, known.owner, known.metric)
                with self._registry.map_fd(ref) as fd:
                    found = collect.read(owner, metric, fd)
            except BpfdError as error:
                # NotFound: the object went meanwhile.
                if owner in self._registry.objects:
                    failed[owner, metric.name] = str(error)[:128]
            except OSError as error:
                failed[owner, metric.name] = error.strerror or f"error {error.errno}"
            else:
                reads.append(found)
                first.setdefault(metric.name, found)
        return page.text(reads, own.metrics(self._registry, served, sessions, reads, failed))
