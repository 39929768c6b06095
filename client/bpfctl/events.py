# SPDX-License-Identifier: Apache-2.0
"""Event streams: batches of raw records, with every loss counted."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bpfctl import wire
from bpfctl.errors import CallFailed, InvalidArgument
from bpfctl.wire import EventBatch

if TYPE_CHECKING:
    from typing import Any, Literal

    import numpy.typing as npt

    from bpfctl.btf.columns import Array
    from bpfctl.records import RecordReader
    from bpfctl.rpc import Rpc
    from bpfd.v1 import events_pb2

__all__ = ["EventBatch", "EventStream", "Losses", "records"]


@dataclass(frozen=True)
class Losses:
    """Records lost since the subscription began."""

    kernel: int = 0
    """The ring or perf buffer was full."""
    daemon: int = 0
    """The queue of this subscription in the daemon was full."""
    network: int = 0
    """Numbers that are missing beyond what the daemon counted."""

    @property
    def total(self) -> int:
        return self.kernel + self.daemon + self.network


class EventStream:
    """Batches of one subscription, in the order of the ring; a context manager.

    Each batch's sequence number is checked against the count of those before: what is
    missing and was not counted by the daemon is a loss of the network.
    """

    def __init__(
        self,
        rpc: Rpc,
        request: events_pb2.SubscribeRequest,
        reader: Callable[[], RecordReader] | None = None,
    ) -> None:
        """Use `Target.events`."""
        self._make_reader = reader
        self._stream = rpc.stream(wire.subscribe(rpc.channel), request, "Events.Subscribe")
        self._counter = LossCounter()

    @property
    def received(self) -> int:
        """Records received so far."""
        return self._counter.received

    @property
    def losses(self) -> Losses:
        """Records lost so far."""
        return self._counter.losses

    def __iter__(self) -> Iterator[EventBatch]:
        return self

    def __next__(self) -> EventBatch:
        batch = next(self._stream)
        self._counter.add(batch)
        return batch

    @cached_property
    def reader(self) -> RecordReader:
        """How the records are read: their type, and the condition they fulfil."""
        if self._make_reader is None:
            raise ValueError("the stream was made without a reader of its records")
        return self._make_reader()

    def arrays(self, dtype: npt.DTypeLike | None = None) -> Iterator[Array]:
        """The records of each batch as one numpy array, a view of the message that came
        where all are alike and no condition chooses among them.

        `dtype`: a type of one's own in place of the one that BTF tells; raises InvalidArgument
        when the stream has a condition, whose fields are those of BTF.
        """
        from bpfctl.btf.events import decode_events

        if dtype is None:
            for batch in self:
                if len(found := self.reader.array(batch)):
                    yield found
            return
        import numpy as np

        if self.reader.where is not None:
            raise InvalidArgument("dtype", "a condition goes with the type that BTF tells")
        own = np.dtype(dtype)
        for batch in self:
            if batch.count:
                yield decode_events(
                    batch.data, batch.record_size, batch.count, own, self.reader.byteorder
                )

    def rows(self) -> Iterator[dict[str, Any]]:
        """The records one by one, as the command line shows them."""
        for batch in self:
            yield from self.reader.rows(batch)

    def close(self) -> None:
        """End the subscription; a reader in another thread sees the end of the stream."""
        self._stream.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LossCounter:
    """Adds up what batches say of losses, and what their sequence numbers say."""

    def __init__(self) -> None:
        self.received = 0
        self._next = 0
        self._missing = 0
        self._kernel = 0
        self._daemon = 0
        self._network = 0

    def add(self, batch: EventBatch) -> None:
        """Take in a batch; raises CallFailed for one that goes back."""
        if batch.sequence < self._next:
            raise CallFailed(
                "Events.Subscribe",
                "OK",
                f"batch {batch.sequence} came where {self._next} was due: records came twice",
            )
        self._missing += batch.sequence - self._next
        self._next = batch.sequence + batch.count
        self.received += batch.count
        self._kernel = max(self._kernel, batch.lost_kernel)
        self._daemon = max(self._daemon, batch.lost_daemon)
        self._network = max(self._network, batch.lost_network)

    @property
    def losses(self) -> Losses:
        """Records lost so far."""
        missing = max(0, self._missing - self._daemon)
        return Losses(self._kernel, self._daemon, max(missing, self._network))


def records(
    batch: EventBatch, byteorder: Literal["little", "big"] = "little"
) -> Iterator[memoryview]:
    """The records of a batch, without header and padding, as views of its data."""
    data = batch.data
    if batch.record_size:
        size, stride = batch.record_size, batch.stride
        for start in range(8, 8 + batch.count * stride, stride):
            yield data[start : start + size]
        return
    header = struct.Struct("<I" if byteorder == "little" else ">I")
    at = 0
    for _ in range(batch.count):
        (size,) = header.unpack_from(data, at)
        yield data[at + 8 : at + 8 + size]
        at += (size + 15) // 8 * 8
