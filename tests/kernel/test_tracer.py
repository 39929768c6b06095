# SPDX-License-Identifier: Apache-2.0
"""What the role tracer may do: only what looks, on its own objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bpfd import security
from bpfd.attach.attachment import Program
from bpfd.errors import PermissionMissing
from bpfd.kernel import elf_object
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.kernel.load_options import LoadOptions, ProgramSetting
from bpfd.objects.registry import HeldObject, Registry
from bpfd.services import roles
from bpfd.v1 import attach_pb2, common_pb2
from tests.kernel.clang import compiled


@contextmanager
def calling(role: security.Role) -> Iterator[None]:
    token = security.enter(security.Caller(role, "test"))
    try:
        yield
    finally:
        security.leave(token)


@pytest.mark.parametrize(
    ("program_type", "attach_type", "allowed"),
    [
        (ProgType.TRACEPOINT, 0, True),
        (ProgType.TRACING, AttachType.TRACE_FENTRY, True),
        (ProgType.TRACING, AttachType.MODIFY_RETURN, False),
        (ProgType.XDP, AttachType.XDP, False),
        (ProgType.SYSCALL, 0, False),
        (ProgType.LSM, AttachType.LSM_MAC, False),
    ],
)
def test_types(program_type: int, attach_type: int, allowed: bool) -> None:
    program = Program(0, 1, "p", program_type, attach_type)
    assert _may_attach(program, attach_pb2.AttachPoint()) == allowed


def test_filters_of_packets_look_and_filters_of_a_socket_decide() -> None:
    program = Program(0, 1, "p", ProgType.SOCKET_FILTER, 0)
    place = attach_pb2.SocketOfProcess(pid=1, fd=3)
    copies = attach_pb2.SocketFilter(raw=common_pb2.Interface(name="lo"))
    assert _may_attach(program, attach_pb2.AttachPoint(socket_filter=copies))
    for point in (
        attach_pb2.AttachPoint(socket_filter=attach_pb2.SocketFilter(process_socket=place)),
        attach_pb2.AttachPoint(sk_reuseport=attach_pb2.SkReuseport(socket=place)),
    ):
        assert not _may_attach(program, point)


def _may_attach(program: Program, point: attach_pb2.AttachPoint) -> bool:
    """Whether a tracer may; an operator may always."""
    with calling(security.Role.OPERATOR):
        roles.require_for_program("attaching")(program, point)
    with calling(security.Role.TRACER):
        check = roles.require_for_program("attaching")
        try:
            check(program, point)
        except PermissionMissing:
            return False
        return True


def test_maps() -> None:
    registry = Registry()
    tracing = elf_object.load("t", compiled("objects"), _only("count_switches"))
    deciding = elf_object.load("d", compiled("objects"), _only("count_packets"))
    registry.objects["t"] = HeldObject("t", None, tracing)
    registry.objects["d"] = HeldObject("d", None, deciding)
    try:
        with calling(security.Role.TRACER):
            check = roles.require_for_map(registry, "writing")
            check(common_pb2.MapRef(id=tracing.maps["obj_runs"].id))
            with pytest.raises(PermissionMissing):
                check(common_pb2.MapRef(id=deciding.maps["obj_runs"].id))
        registry.objects.pop("t")
        with calling(security.Role.TRACER), pytest.raises(PermissionMissing):
            roles.require_for_map(registry, "writing")(
                common_pb2.MapRef(id=tracing.maps["obj_runs"].id)
            )
        with calling(security.Role.OPERATOR):
            roles.require_for_map(registry, "writing")(common_pb2.MapRef(id=1))
    finally:
        tracing.close()
        deciding.close()


def _only(name: str) -> LoadOptions:
    names = ("count_packets", "count_switches")
    return LoadOptions(programs={each: ProgramSetting(load=each == name) for each in names})
