# SPDX-License-Identifier: Apache-2.0
"""A stream of events that every board can make: samples of a software clock."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfctl.build import build
from bpfctl.events import EventStream, records
from bpfctl.facts import facts_of
from bpfctl.sessions import Session
from bpfctl.target import Target

NAME = "ticks"
PER_SECOND = 100

_SOURCE = Path(__file__).parent / "ticks.bpf.c"


def tick_object(target: Target) -> bytes:
    """The program, compiled for a target."""
    return build(_SOURCE, facts_of(target), target.btf.kernel_bytes).object


@contextmanager
def ticking(target: Target, session: Session) -> Iterator[EventStream]:
    """Events of a program that lives in a session of the target."""
    target.load(tick_object(target), NAME, session=session)
    point = f"perf_event:cpu-clock,frequency={PER_SECOND}"
    target.attach(f"{NAME}/tick", point, session=session)
    with target.events(f"{NAME}/ticks") as stream:
        yield stream


def times(stream: EventStream) -> Iterator[int]:
    """Boot clock of each event, nanoseconds."""
    for batch in stream:
        for record in records(batch):
            yield struct.unpack("=Q", record)[0]
