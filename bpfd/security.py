# SPDX-License-Identifier: Apache-2.0
"""Who may call what: the roles, and one table that names every call of every service."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from bpfd import errors


class Role(IntEnum):
    """Each role may do what the ones before it may."""

    VIEWER = 1
    TRACER = 2
    OPERATOR = 3
    ADMIN = 4

    def __str__(self) -> str:
        return self.name.lower()


ROLE_URI = "bpfd:role:"
"""Prefix of the URI in a client certificate's subject alternative names."""


@dataclass(frozen=True)
class Rule:
    """What one call needs, and whether it leaves an audit line.

    Where only some requests change something, `only_if` tells them apart, and those need
    `changing_role`.
    """

    role: Role
    changes: bool = False
    only_if: Callable[[Any], bool] | None = None
    changing_role: Role | None = None

    def is_change(self, request: Any) -> bool:
        """Whether this request changes something."""
        return self.changes and (self.only_if is None or self.only_if(request))

    def needs(self, request: Any) -> Role:
        """Role that this request needs."""
        if self.changing_role is not None and self.is_change(request):
            return self.changing_role
        return self.role


def _reads(*methods: str, role: Role = Role.VIEWER) -> dict[str, Rule]:
    return dict.fromkeys(methods, Rule(role))


def _changes(*methods: str, role: Role) -> dict[str, Rule]:
    return dict.fromkeys(methods, Rule(role, changes=True))


_BPFD: dict[str, dict[str, Rule]] = {
    "Target": {
        **_reads("GetTarget", "GetBtf", "GetKallsyms", "ListFunctions"),
        **_reads("ListTracepoints", "ListProcesses", "GetMetrics"),
        **_reads("Preflight", role=Role.TRACER),
    },
    "Objects": {
        **_reads("Get", "List"),
        **_reads("Verify", role=Role.TRACER),
        **_changes("Load", "Unload", role=Role.TRACER),
    },
    "Programs": {
        **_reads("List", "Get", "Dump"),
        **_changes("EnableStats", role=Role.TRACER),
        **_changes("TestRun", "TestRunBatch", role=Role.OPERATOR),
    },
    "Links": {
        **_reads("List", "ListAttachments"),
        # Every reading runs a program over the kernel's state.
        **_reads("Read", role=Role.TRACER),
        **_changes("Attach", "Update", "Detach", role=Role.TRACER),
    },
    "Maps": {
        **_reads("List", "Get", "Dump", "Watch"),
        "Lookup": Rule(
            Role.VIEWER,
            changes=True,
            only_if=lambda request: bool(request.delete),
            changing_role=Role.OPERATOR,
        ),
        # A tracer's own maps only: bpfd.services.roles looks.
        **_changes("Create", "Update", "Delete", role=Role.TRACER),
        **_changes("Submit", "WriteArena", role=Role.TRACER),
        # Looking at memory that nobody has allocated allocates it.
        **_reads("ReadArena", role=Role.TRACER),
        **_changes("Pin", "Unpin", role=Role.OPERATOR),
    },
    # Both take what they deliver out of the kernel.
    "Events": _changes("Subscribe", "TracePipe", role=Role.TRACER),
    "Files": {
        **_reads("Stat", "Read", "List", "Storage"),
        **_reads("Peek", role=Role.TRACER),
        **_changes("Poke", role=Role.TRACER),
    },
    "Sessions": _changes("Open", "Close", role=Role.TRACER),
    "Deployments": {
        **_reads("Get", "List", "History", "Watch"),
        **_changes("Apply", "Rollback", "Remove", role=Role.ADMIN),
    },
}

RULES: dict[str, Rule] = {
    **{
        f"/bpfd.v1.{service}/{method}": rule
        for service, methods in _BPFD.items()
        for method, rule in methods.items()
    },
    "/grpc.health.v1.Health/Check": Rule(Role.VIEWER),
    "/grpc.health.v1.Health/List": Rule(Role.VIEWER),
    "/grpc.health.v1.Health/Watch": Rule(Role.VIEWER),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(Role.VIEWER),
}
"""Every call that the daemon serves. A call that is not here is refused."""


@dataclass(frozen=True)
class Caller:
    """Who makes the call that is being served."""

    role: Role
    # gRPC's words: "unix:", "ipv4:192.0.2.1:50000".
    peer: str
    # Common name of the client certificate; empty: a unix socket.
    name: str = ""


_caller: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


def enter(caller: Caller) -> contextvars.Token[Caller | None]:
    """Tells handlers, and the threads that they start, who calls."""
    return _caller.set(caller)


def leave(token: contextvars.Token[Caller | None]) -> None:
    """Undoes `enter`."""
    _caller.reset(token)


def caller() -> Caller:
    """Who makes the call that is being served.

    Raises PermissionMissing outside of a call.
    """
    found = _caller.get()
    if found is None:
        raise errors.PermissionMissing("a caller with a role", action="this")
    return found


def require(role: Role, action: str) -> None:
    """Refuses a caller below `role`; `action` says in words what was wanted.

    Raises PermissionMissing.
    """
    has = caller().role
    if has < role:
        raise errors.PermissionMissing(f"role {role}", f"role {has}", action)


def role_of_certificate(auth_context: dict[str, list[bytes]]) -> Caller:
    """The caller that a verified client certificate names, by its URI `bpfd:role:ROLE`.

    Raises PermissionMissing for a certificate with no role, with several, or an unknown one.
    """
    uris = [
        entry.decode(errors="replace")
        for key in ("peer_uri", "x509_subject_alternative_name")
        for entry in auth_context.get(key, [])
    ]
    names = {uri.removeprefix(ROLE_URI) for uri in uris if uri.startswith(ROLE_URI)}
    known = {str(role): role for role in Role}
    if len(names) != 1 or not names <= known.keys():
        raise errors.PermissionMissing(
            f"a client certificate with exactly one URI {ROLE_URI}viewer, tracer, operator "
            "or admin",
            f"{', '.join(sorted(names)) or 'none'}",
            "a call over TCP",
        )
    common = auth_context.get("x509_common_name", [b""])
    return Caller(known[names.pop()], "", common[0].decode(errors="replace"))
