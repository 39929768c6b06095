# SPDX-License-Identifier: Apache-2.0
"""What a tracer may load, attach and write: programs that look, not programs that decide."""

from __future__ import annotations

from collections.abc import Callable

from bpfd import security
from bpfd.attach.attachment import Program
from bpfd.errors import PermissionMissing
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.kernel.info import map_info
from bpfd.kernel.load_options import Inspect
from bpfd.objects.registry import Registry
from bpfd.v1 import attach_pb2, common_pb2

TRACING_TYPES = frozenset(
    {
        ProgType.KPROBE,
        ProgType.TRACEPOINT,
        ProgType.PERF_EVENT,
        ProgType.RAW_TRACEPOINT,
        ProgType.TRACING,
        ProgType.SOCKET_FILTER,
    }
)
"""Types whose programs change neither packets nor decisions of the kernel. A syscall
program is not among them: it may call bpf(2) itself."""

_DECIDING = frozenset({AttachType.MODIFY_RETURN})
"""fmod_ret is of a tracing type and changes what a function returns."""


def is_tracing(program_type: int, attach_type: int) -> bool:
    """Whether a program only looks."""
    return program_type in TRACING_TYPES and attach_type not in _DECIDING


def is_looking(point: attach_pb2.AttachPoint) -> bool:
    """Whether a program of a tracing type only looks there: on a socket of a process a
    filter decides what that receives."""
    match point.WhichOneof("point"):
        case "sk_reuseport":
            return False
        case "socket_filter":
            return point.socket_filter.WhichOneof("socket") != "process_socket"
        case _:
            return True


def require_for_types(action: str) -> Inspect:
    """A check of programs by name for the caller of this call, for any thread."""
    caller = security.caller()

    def check(types: dict[str, tuple[int, int]]) -> None:
        for name, (program_type, attach_type) in types.items():
            if caller.role < security.Role.OPERATOR and not is_tracing(
                program_type, attach_type
            ):
                raise PermissionMissing(
                    "role operator",
                    f"role {caller.role}",
                    f"{action} {name}, which is no tracing program",
                )

    return check


def require_for_program(
    action: str,
) -> Callable[[Program, attach_pb2.AttachPoint], None]:
    """The same for one program and the place it is attached to."""
    caller = security.caller()
    check_types = require_for_types(action)

    def check(program: Program, point: attach_pb2.AttachPoint) -> None:
        check_types({program.name: (program.type, program.expected_attach_type)})
        if caller.role < security.Role.OPERATOR and not is_looking(point):
            raise PermissionMissing(
                "role operator",
                f"role {caller.role}",
                f"{action} {program.name}: it decides what a process receives",
            )

    return check


def require_for_map(registry: Registry, action: str) -> Callable[[common_pb2.MapRef], None]:
    """A check of the map that is to be written, for any thread.

    A tracer writes maps of objects of this daemon whose programs only look.
    """
    caller = security.caller()

    def check(ref: common_pb2.MapRef) -> None:
        if caller.role >= security.Role.OPERATOR:
            return
        with registry.map_fd(ref) as fd:
            number = map_info(fd).id
        holders = registry.objects_with_map(number)
        types = [each for name in holders for each in registry.types_of(name).values()]
        if not holders or not all(is_tracing(*each) for each in types):
            raise PermissionMissing(
                "role operator",
                f"role {caller.role}",
                f"{action} map {number}, which is not only of tracing programs",
            )

    return check
