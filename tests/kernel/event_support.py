# SPDX-License-Identifier: Apache-2.0
"""Records that a test produces, and streams that count what they get."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import Any

import grpc
from bpfctl import wire
from bpfctl.events import LossCounter, records
from bpfctl.wire import EventBatch

from bpfd.kernel import attributes, syscall
from bpfd.kernel.constants import Cmd
from bpfd.v1 import common_pb2, events_pb2, objects_pb2
from tests.kernel.api import Api, map_ref
from tests.kernel.clang import compiled

FIXED, TWO_SIZES, DISCARD, LONG = range(4)
NO_WAKEUP = 1


@dataclass
class Producer:
    """The object `events` in the daemon, and its programs at hand."""

    api: Api
    lifetime: common_pb2.Lifetime
    ids: dict[str, int]

    def run(self, count: int, kind: int = FIXED, flags: int = NO_WAKEUP) -> None:
        """Writes records."""
        self._run("produce", struct.pack("=4Q", count, kind, flags, 0))

    def run_perf(self, count: int) -> None:
        self._run("produce_perf", struct.pack("=QQ", count, 0))

    def _run(self, name: str, context: bytes) -> None:
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, self.ids[name])
        try:
            # These types of programs give no context back, and refuse to be asked for it.
            buffer = ctypes.create_string_buffer(context, len(context))
            attr = attributes.TestRun(
                prog_fd=fd, ctx_in=ctypes.addressof(buffer), ctx_size_in=len(context)
            )
            syscall.bpf(Cmd.PROG_TEST_RUN, attr)
        finally:
            os.close(fd)


def load(api: Api, lifetime: common_pb2.Lifetime, ring_bytes: int) -> Producer:
    options = objects_pb2.LoadOptions(
        maps=[objects_pb2.MapSetting(name="ev_ring", max_entries=ring_bytes)]
    )
    loaded = api.load("ev", compiled("events"), lifetime, options=options).object
    return Producer(api, lifetime, {item.name: item.id for item in loaded.programs})


class Stream:
    """One subscription; counts what it gets."""

    def __init__(self, channel: grpc.Channel, where: str = "ev/ev_ring", **fields: Any) -> None:
        request = events_pb2.SubscribeRequest(map=map_ref(where), **fields)
        self.call = wire.subscribe(channel)(request)
        self.call.initial_metadata()  # the subscription is there from here on
        self.counter = LossCounter()
        self.numbers: list[int] = []
        self.batches = 0

    def read(self) -> EventBatch:
        batch = next(self.call)
        self.take(batch)
        return batch

    def take(self, batch: EventBatch) -> None:
        self.counter.add(batch)
        self.batches += 1
        for record in records(batch):
            self.numbers.append(int.from_bytes(record[:8], "little"))

    def read_until(self, accounted: int) -> None:
        """Reads until so many records are delivered or known to be lost."""
        while self.counter.received + self.counter.losses.total < accounted:
            self.read()

    def read_rest(self) -> None:
        for batch in self.call:
            self.take(batch)
