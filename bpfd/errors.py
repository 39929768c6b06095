# SPDX-License-Identifier: Apache-2.0
"""The few kinds of errors of the daemon, and the one place that puts them on the wire.

Each kind tells the caller what to do next. `bpfctl.errors` maps them back.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import grpc

from bpfd.v1 import errors_pb2

DETAIL_KEY = "bpfd-error-bin"
"""Trailing metadata entry that carries a serialized `bpfd.v1.ErrorDetail`."""

MAX_DETAIL_BYTES = 48 * 1024
"""Clients accept this much metadata (`grpc.max_metadata_size` is set to 64 KiB)."""


@dataclass
class BpfdError(Exception):
    """Base of the kinds below; never raised itself."""

    def __str__(self) -> str:
        return type(self).__name__

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), tuple(getattr(self, name) for name in self.__dataclass_fields__))


@dataclass
class NotSupported(BpfdError):
    """The kernel or the daemon cannot do it."""

    feature: str
    since: str = ""
    needs: str = ""

    def __str__(self) -> str:
        text = f"this target does not support {self.feature}"
        if self.since:
            text += f" (kernels have it since {self.since})"
        return f"{text}: {self.needs}" if self.needs else text


@dataclass
class VerifierRejected(BpfdError):
    """The verifier refused a program; nothing was loaded."""

    program: str
    log: str
    errno: int = 0
    log_truncated: bool = False
    instruction: int = -1

    def __str__(self) -> str:
        lines = [line for line in self.log.splitlines() if line.strip()]
        words = [
            line for line in lines if not line.startswith(("processed ", "verification time"))
        ]
        last = words[-1].strip() if words else os.strerror(self.errno)
        return f"the verifier refused program {self.program}: {last}"


@dataclass
class AttachBusy(BpfdError):
    """Someone else is attached there; nothing was attached."""

    point: str
    owner: str
    program_id: int = 0
    link_id: int = 0

    def __str__(self) -> str:
        return f"{self.point} is taken by {self.owner}"


@dataclass
class PermissionMissing(BpfdError):
    """The daemon lacks a capability or the caller lacks a role."""

    needs: str
    has: str = ""
    action: str = ""

    def __str__(self) -> str:
        text = f"{self.action or 'this'} needs {self.needs}"
        return f"{text}, and there is only {self.has}" if self.has else text


@dataclass
class NotFound(BpfdError):
    """There is nothing of that name."""

    kind: str
    name: str
    near: list[str] = field(default_factory=list)
    hint: str = ""

    def __str__(self) -> str:
        text = f"there is no {self.kind} {self.name!r}"
        if self.near:
            text += f"; did you mean {', '.join(self.near)}?"
        return f"{text} ({self.hint})" if self.hint else text


@dataclass
class InvalidArgument(BpfdError):
    """A field of the request is wrong; nothing was done."""

    field: str
    why: str

    def __str__(self) -> str:
        return f"{self.field}: {self.why}"


@dataclass
class LeaseExpired(BpfdError):
    """The session that should own the result has ended."""

    session: str

    def __str__(self) -> str:
        return "the session has ended; open a new one"


@dataclass
class LimitExceeded(BpfdError):
    """A bound of the daemon or of a map was met."""

    what: str
    limit: int
    asked: int = 0
    done: int = 0
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.what} is limited to {self.limit}"
        if self.asked:
            text += f", asked for {self.asked}"
        if self.done:
            text += f"; {self.done} were done before"
        return f"{text} ({self.hint})" if self.hint else text


@dataclass
class KernelError(BpfdError):
    """The kernel refused for a reason that has no kind of its own."""

    operation: str
    errno: int
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.operation}: {os.strerror(self.errno)}"
        return f"{text} ({self.hint})" if self.hint else text


_STATUS: dict[type[BpfdError], tuple[str, grpc.StatusCode]] = {
    NotSupported: ("not_supported", grpc.StatusCode.UNIMPLEMENTED),
    VerifierRejected: ("verifier_rejected", grpc.StatusCode.FAILED_PRECONDITION),
    AttachBusy: ("attach_busy", grpc.StatusCode.ALREADY_EXISTS),
    PermissionMissing: ("permission_missing", grpc.StatusCode.PERMISSION_DENIED),
    NotFound: ("not_found", grpc.StatusCode.NOT_FOUND),
    InvalidArgument: ("invalid_argument", grpc.StatusCode.INVALID_ARGUMENT),
    LeaseExpired: ("lease_expired", grpc.StatusCode.ABORTED),
    LimitExceeded: ("limit_exceeded", grpc.StatusCode.RESOURCE_EXHAUSTED),
    KernelError: ("kernel_error", grpc.StatusCode.INTERNAL),
}


def to_status(error: BpfdError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """The gRPC status, message and trailing metadata of an error.

    A verifier log longer than `MAX_DETAIL_BYTES` is cut at the front: its end says why.
    """
    _, code = _STATUS[type(error)]
    return code, str(error)[:1024], ((DETAIL_KEY, to_detail(error).SerializeToString()),)


def to_detail(error: BpfdError) -> errors_pb2.ErrorDetail:
    """An error as the API has it, with its log cut as `to_status` says."""
    name, _ = _STATUS[type(error)]
    detail = errors_pb2.ErrorDetail()
    message = getattr(detail, name)
    message.SetInParent()
    for key in error.__dataclass_fields__:
        value = getattr(error, key)
        if key == "log" and len(value) > MAX_DETAIL_BYTES - 1024:
            value = value[-(MAX_DETAIL_BYTES - 1024) :]
            message.log_truncated = True
        if isinstance(value, list):
            getattr(message, key).extend(value)
        elif key != "log_truncated" or value:
            setattr(message, key, value)
    return detail
