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
from bpfd.v1 import common_pb2
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
    with calling(security.Role.OPERATOR):
        roles.require_for_program("attaching")(program)
    with calling(security.Role.TRACER):
        check = roles.require_for_program("attaching")
        if allowed:
            check(program)
        else:
            with pytest.raises(PermissionMissing):
                check(program)


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
