# SPDX-License-Identifier: Apache-2.0
"""What a tracer may load and attach: programs that look, not programs that decide."""

from __future__ import annotations

from collections.abc import Callable

from bpfd import security
from bpfd.attach.attachment import Program
from bpfd.errors import PermissionMissing
from bpfd.kernel.constants import ProgType

TRACING_TYPES = frozenset(
    {
        ProgType.KPROBE,
        ProgType.TRACEPOINT,
        ProgType.PERF_EVENT,
        ProgType.RAW_TRACEPOINT,
        ProgType.TRACING,
        ProgType.SYSCALL,
        ProgType.SOCKET_FILTER,
    }
)
"""Types whose programs change neither packets nor decisions of the kernel."""


def require_for_types(action: str) -> Callable[[dict[str, int]], None]:
    """A check of program types by name for the caller of this call, for any thread."""
    caller = security.caller()

    def check(types: dict[str, int]) -> None:
        for name, number in types.items():
            if caller.role < security.Role.OPERATOR and number not in TRACING_TYPES:
                raise PermissionMissing(
                    "role operator",
                    f"role {caller.role}",
                    f"{action} {name}, which is no tracing program",
                )

    return check


def require_for_program(action: str) -> Callable[[Program], None]:
    """The same for one program."""
    check = require_for_types(action)
    return lambda program: check({program.name: program.type})
