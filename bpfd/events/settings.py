# SPDX-License-Identifier: Apache-2.0
"""What a subscription asks for, checked, and the ring that it means, opened."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass

from bpfd.errors import InvalidArgument, KernelError, LimitExceeded, NotFound, NotSupported
from bpfd.events.fan_out import Source
from bpfd.kernel import host, map_io
from bpfd.kernel.constants import MapType, name_of
from bpfd.kernel.info import MapInfo, map_info
from bpfd.kernel.perf_buffer import PerfBuffers
from bpfd.kernel.ring import Ring
from bpfd.objects.objects import Objects
from bpfd.v1 import common_pb2, events_pb2

DEFAULT_QUEUE_BYTES, MAX_QUEUE_BYTES = 64 << 20, 1 << 30
DEFAULT_BATCH_BYTES, MIN_BATCH_BYTES, MAX_BATCH_BYTES = 1 << 20, 4 << 10, 16 << 20
DEFAULT_POLL_INTERVAL, MIN_POLL_INTERVAL, MAX_POLL_INTERVAL = 0.02, 0.001, 3600.0
DEFAULT_PERF_PAGES, MAX_PERF_PAGES = 64, 16384
MAX_LOSS_COUNTERS = 4096
"""Keys of a lost_map: all of them are read for every batch."""

_OVERWRITES = 1 << 19  # BPF_F_RB_OVERWRITE


@dataclass(frozen=True)
class Settings:
    """A request's numbers with their defaults filled in; seconds and bytes."""

    poll_interval: float
    queue_bytes: int
    batch_bytes: int
    perf_pages: int


def validate(request: events_pb2.SubscribeRequest) -> Settings:
    """Raises InvalidArgument or LimitExceeded; touches nothing."""
    interval = DEFAULT_POLL_INTERVAL
    if request.HasField("poll_interval"):
        interval = request.poll_interval.ToNanoseconds() / 1e9
        if not MIN_POLL_INTERVAL <= interval <= MAX_POLL_INTERVAL:
            raise InvalidArgument("poll_interval", f"{interval:g} s is not 1 ms to 1 h")
    batch = request.batch_bytes or DEFAULT_BATCH_BYTES
    if batch < MIN_BATCH_BYTES:
        # The smallest batch of all subscribers of a ring is the batch of each.
        raise InvalidArgument("batch_bytes", f"{batch} is less than {MIN_BATCH_BYTES}")
    pages = request.perf_pages or DEFAULT_PERF_PAGES
    if pages & pages - 1:
        raise InvalidArgument("perf_pages", f"{pages} is not a power of two")
    for what, asked, limit in (
        ("queue_bytes", request.queue_bytes, MAX_QUEUE_BYTES),
        ("batch_bytes", batch, MAX_BATCH_BYTES),
        ("perf_pages", pages, MAX_PERF_PAGES),
    ):
        if asked > limit:
            raise LimitExceeded(what, limit, asked=asked)
    return Settings(
        poll_interval=interval,
        queue_bytes=request.queue_bytes or DEFAULT_QUEUE_BYTES,
        batch_bytes=batch,
        perf_pages=pages,
    )


@dataclass
class Opened:
    """A ring that is mapped, and where its losses are counted."""

    map_id: int
    source: Source
    lost_fd: int | None
    lost_shape: map_io.Shape | None
    _last: int = 0

    def count_lost(self) -> int:
        """What the programs have counted as lost so far."""
        if self.lost_fd is not None and self.lost_shape is not None:
            self._last = map_io.counters(self.lost_fd, self.lost_shape)
        return self._last

    def close(self) -> None:
        """Closes what is left when the source is closed."""
        if self.lost_fd is not None:
            os.close(self.lost_fd)
            self.lost_fd = None

    def undo(self) -> None:
        """Closes everything: nobody has taken the source over."""
        self.source.close()
        self.close()


class Target:
    """The map of a subscription; `close` it in any case."""

    def __init__(self, fd: int, info: MapInfo, settings: Settings) -> None:
        self.map_id: int = info.id
        self._fd = fd
        self._info = info
        self._settings = settings
        self._lost_fd: int | None = None

    def find_lost(self, objects: Objects, request: events_pb2.SubscribeRequest) -> None:
        """The map of loss counters, by request or by name. Raises InvalidArgument."""
        if request.HasField("lost_map"):
            self._lost_fd = _dup(objects, request.lost_map)
            info = map_info(self._lost_fd)
            if not _holds_counters(info):
                raise InvalidArgument(
                    "lost_map",
                    f"map {info.id} is no array or per-CPU array of at most "
                    f"{MAX_LOSS_COUNTERS} 8-byte counters",
                )
            return
        member = objects.member_of_map(self.map_id)
        if member is None:
            return
        name = common_pb2.ObjectMember(object=member[0], name=f"{member[1]}_lost")
        try:
            fd = _dup(objects, common_pb2.MapRef(member=name))
        except NotFound:
            return
        if _holds_counters(map_info(fd)):
            self._lost_fd = fd
        else:
            os.close(fd)

    def open(self) -> Opened:
        """Maps the ring. Raises KernelError or NotSupported."""
        info, settings = self._info, self._settings
        source: Source
        try:
            if info.type == MapType.RINGBUF:
                source = Ring(self._fd, info.max_entries, host.host().pointer_bits)
            else:
                source = PerfBuffers(self._fd, info.max_entries, settings.perf_pages)
        except OSError as error:
            raise KernelError(
                f"mapping the buffers of map {info.id}",
                error.errno or 0,
                "a read-only map cannot be subscribed to; a large one needs address space",
            ) from None
        lost_fd, self._lost_fd = self._lost_fd, None
        shape = map_io.shape(map_info(lost_fd)) if lost_fd is not None else None
        return Opened(self.map_id, source, lost_fd, shape)

    def close(self) -> None:
        """Closes what `open` has not taken over."""
        os.close(self._fd)
        if self._lost_fd is not None:
            os.close(self._lost_fd)


def resolve(
    objects: Objects, request: events_pb2.SubscribeRequest, settings: Settings
) -> Target:
    """Finds the map. Raises NotFound or InvalidArgument."""
    with ExitStack() as undo:
        target = Target(fd := _dup(objects, request.map), map_info(fd), settings)
        undo.callback(target.close)
        kind = target._info.type
        if kind not in (MapType.RINGBUF, MapType.PERF_EVENT_ARRAY):
            raise InvalidArgument(
                "map",
                f"map {target.map_id} is of type {name_of(MapType, kind) or kind}; "
                "only ring buffers and perf event arrays have events",
            )
        if kind == MapType.RINGBUF and target._info.map_flags & _OVERWRITES:
            raise NotSupported(
                f"reading map {target.map_id}, whose new records overwrite old ones",
                needs="a ring buffer without BPF_F_RB_OVERWRITE",
            )
        target.find_lost(objects, request)
        undo.pop_all()
    return target


def _dup(objects: Objects, ref: common_pb2.MapRef) -> int:
    with objects.map_fd(ref) as fd:
        return os.dup(fd)


def _holds_counters(info: MapInfo) -> bool:
    return (
        info.type in map_io.ARRAYS
        and info.value_size == 8
        and info.max_entries <= MAX_LOSS_COUNTERS
    )
