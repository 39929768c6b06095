# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a target, and the one place that reads errors off the wire.

The kinds mirror `bpfd.v1.ErrorDetail`; two more exist only on this side:
`TargetUnreachable` and `ApiMismatch`. Texts say what to do next.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

DETAIL_KEY = "bpfd-error-bin"
"""Trailing metadata entry that carries a serialized `bpfd.v1.ErrorDetail`."""


@dataclass
class BpfctlError(Exception):
    """Base of all kinds; never raised itself."""

    def __str__(self) -> str:
        return type(self).__name__

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), tuple(getattr(self, name) for name in self.__dataclass_fields__))


@dataclass
class NotSupported(BpfctlError):
    """The target's kernel or daemon cannot do it."""

    feature: str
    since: str = ""
    needs: str = ""

    def __str__(self) -> str:
        text = f"this target does not support {self.feature}"
        if self.since:
            text += f" (kernels have it since {self.since})"
        return f"{text}: {self.needs}" if self.needs else text


@dataclass
class VerifierRejected(BpfctlError):
    """The verifier refused a program; nothing was loaded."""

    program: str
    log: str
    errno: int = 0
    log_truncated: bool = False
    instruction: int = -1

    def __str__(self) -> str:
        said = [line for line in self.log.splitlines() if line.strip()]
        said = [
            line for line in said if not line.startswith(("processed ", "verification time"))
        ]
        last = said[-1].strip() if said else os.strerror(self.errno)
        return f"the verifier refused program {self.program}: {last}"


@dataclass
class AttachBusy(BpfctlError):
    """Someone else is attached there; nothing was attached."""

    point: str
    owner: str
    program_id: int = 0
    link_id: int = 0

    def __str__(self) -> str:
        return f"{self.point} is taken by {self.owner}"


@dataclass
class PermissionMissing(BpfctlError):
    """The daemon lacks a capability, or the caller a role."""

    needs: str
    has: str = ""
    action: str = ""

    def __str__(self) -> str:
        text = f"{self.action or 'this'} needs {self.needs}"
        return f"{text}, and there is only {self.has}" if self.has else text


@dataclass
class NotFound(BpfctlError):
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
class InvalidArgument(BpfctlError):
    """A value that was asked for is wrong; nothing was done."""

    field: str
    why: str

    def __str__(self) -> str:
        return f"{self.field}: {self.why}" if self.field else self.why


@dataclass
class LeaseExpired(BpfctlError):
    """The session that should own the result has ended."""

    session: str

    def __str__(self) -> str:
        return "the session has ended; open a new one"


@dataclass
class LimitExceeded(BpfctlError):
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
class KernelError(BpfctlError):
    """The kernel refused for a reason that has no kind of its own."""

    operation: str
    errno: int
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.operation}: {os.strerror(self.errno)}"
        return f"{text} ({self.hint})" if self.hint else text


@dataclass
class TargetUnreachable(BpfctlError):
    """There is no way to the target's daemon, or it broke."""

    target: str
    why: str
    hint: str = ""
    before_daemon: bool = False
    """There was no way to the machine; else its daemon does not answer, or is not known to."""

    def __str__(self) -> str:
        text = f"target {self.target}: {self.why}"
        return f"{text}; {self.hint}" if self.hint else text


@dataclass
class ApiMismatch(BpfctlError):
    """Something answers, but not with an API that this client speaks."""

    target: str
    why: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"target {self.target}: {self.why}"
        return f"{text}; {self.hint}" if self.hint else text


@dataclass
class CallFailed(BpfctlError):
    """The daemon failed in a way it has no words for, or the call was ended."""

    call: str
    status: str
    why: str

    def __str__(self) -> str:
        return f"{self.call or 'the call'} ended with {self.status}: {self.why}"


KINDS: dict[str, type[BpfctlError]] = {
    "not_supported": NotSupported,
    "verifier_rejected": VerifierRejected,
    "attach_busy": AttachBusy,
    "permission_missing": PermissionMissing,
    "not_found": NotFound,
    "invalid_argument": InvalidArgument,
    "lease_expired": LeaseExpired,
    "limit_exceeded": LimitExceeded,
    "kernel_error": KernelError,
}
"""Kind of `bpfd.v1.ErrorDetail` to class."""


def from_detail(serialized: bytes) -> BpfctlError | None:
    """The error in a serialized `bpfd.v1.ErrorDetail`; None for a kind of later days."""
    from bpfd.v1 import errors_pb2

    detail = errors_pb2.ErrorDetail.FromString(serialized)
    name = detail.WhichOneof("kind")
    if name is None:
        return None
    kind = KINDS[name]
    message = getattr(detail, name)
    values = {key: getattr(message, key) for key in kind.__dataclass_fields__}
    if "near" in values:
        values["near"] = list(values["near"])
    return kind(*values.values())


def detail_of(error: grpc.Call) -> bytes | None:
    """The serialized `bpfd.v1.ErrorDetail` of a failed call; None: it carries none."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAIL_KEY and isinstance(value, bytes):
            return value
    return None


def from_rpc(error: grpc.RpcError, target: str, call: str = "") -> BpfctlError:
    """The error of a failed call to `target` as one of the kinds above.

    `call` names the call for texts, as in "Maps.Dump".
    """
    import grpc

    if not isinstance(error, grpc.Call):
        return CallFailed(call, "UNKNOWN", str(error))
    serialized = detail_of(error)
    found = from_detail(serialized) if serialized is not None else None
    if found is not None:
        return found
    code = error.code() or grpc.StatusCode.UNKNOWN
    details = error.details() or "no details were given"
    if code is grpc.StatusCode.UNAVAILABLE:
        return TargetUnreachable(target, f"the connection broke: {details}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotSupported(
            f"the call {call}" if call else "this call", needs="a newer bpfd on the target"
        )
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return PermissionMissing("another role", action=f"{call or 'this call'} ({details})")
    return CallFailed(call, code.name, details)
