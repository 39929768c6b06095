# SPDX-License-Identifier: Apache-2.0
"""The daemon's API as tests of the daemon use it: stubs, short messages, errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from bpfd.errors import DETAIL_KEY
from bpfd.v1 import attach_pb2, common_pb2, links_pb2, objects_pb2, sessions_pb2
from bpfd.v1.errors_pb2 import ErrorDetail
from bpfd.v1.links_pb2_grpc import LinksStub
from bpfd.v1.maps_pb2_grpc import MapsStub
from bpfd.v1.objects_pb2_grpc import ObjectsStub
from bpfd.v1.programs_pb2_grpc import ProgramsStub
from bpfd.v1.sessions_pb2_grpc import SessionsStub

PINNED = common_pb2.Lifetime(pinned=common_pb2.Pinned())
SWITCHES = attach_pb2.AttachPoint(raw_tracepoint=attach_pb2.RawTracepoint(name="sched_switch"))


@dataclass
class Api:
    """Stubs of one channel."""

    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.objects = ObjectsStub(self.channel)
        self.links = LinksStub(self.channel)
        self.maps = MapsStub(self.channel)
        self.programs = ProgramsStub(self.channel)
        self.sessions = SessionsStub(self.channel)

    def open_session(self, **fields: Any) -> tuple[str, Any]:
        """(session, its stream)."""
        stream = self.sessions.Open(sessions_pb2.OpenSessionRequest(**fields))
        return next(stream).opened.session, stream

    def close_session(self, session: str) -> None:
        """Returns when everything is gone."""
        self.sessions.Close(sessions_pb2.CloseSessionRequest(session=session))

    @contextmanager
    def session(self, label: str = "test") -> Iterator[common_pb2.Lifetime]:
        """A session's lifetime; closed at the end."""
        session, stream = self.open_session(label=label)
        try:
            yield common_pb2.Lifetime(session=session)
        finally:
            self.close_session(session)
            list(stream)

    def load(
        self, name: str, elf: bytes, lifetime: common_pb2.Lifetime, **fields: Any
    ) -> objects_pb2.LoadResponse:
        """Objects.Load of an ELF object."""
        return self.objects.Load(
            objects_pb2.LoadRequest(name=name, lifetime=lifetime, elf=elf, **fields)
        )

    def attach(
        self, where: str, point: attach_pb2.AttachPoint, **fields: Any
    ) -> objects_pb2.Link:
        """Links.Attach of OBJECT/PROGRAM."""
        return self.links.Attach(
            links_pb2.AttachRequest(program=program(where), point=point, **fields)
        )

    def unload(self, name: str) -> list[str]:
        """Objects.Unload; names of the links that were detached."""
        return list(self.objects.Unload(objects_pb2.UnloadRequest(name=name)).links)

    def object_names(self) -> list[str]:
        """Every object of the daemon."""
        found = self.objects.List(objects_pb2.ListObjectsRequest()).objects
        return [item.name for item in found]


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within some seconds."""
    until = time.monotonic() + 10
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def program(where: str) -> common_pb2.ProgramRef:
    """OBJECT/PROGRAM."""
    name, _, member = where.partition("/")
    return common_pb2.ProgramRef(member=common_pb2.ObjectMember(object=name, name=member))


def map_ref(where: str) -> common_pb2.MapRef:
    """OBJECT/MAP."""
    name, _, member = where.partition("/")
    return common_pb2.MapRef(member=common_pb2.ObjectMember(object=name, name=member))


@dataclass
class Refusal:
    """A failed call."""

    code: grpc.StatusCode
    text: str
    kind: str
    detail: Any


@contextmanager
def refused(kind: str) -> Iterator[Refusal]:
    """The call inside must fail with this kind of error (a field of ErrorDetail)."""
    found = Refusal(grpc.StatusCode.OK, "", "", None)
    with pytest.raises(grpc.RpcError) as raised:
        yield found
    error: Any = raised.value
    found.code, found.text = error.code(), error.details()
    details = [
        ErrorDetail.FromString(value)
        for key, value in error.trailing_metadata()
        if key == DETAIL_KEY
    ]
    assert len(details) == 1, f"no detail in {found.code}: {found.text}"
    found.kind = details[0].WhichOneof("kind") or ""
    found.detail = getattr(details[0], found.kind)
    assert found.kind == kind, f"{found.kind}: {found.text}"
