# SPDX-License-Identifier: Apache-2.0
"""sk_reuseport: which socket of a group with one port gets a connection or a packet.

Kernel 4.19 (2dbb9b9e6df6), migration 5.14 (d5e4ddaeb6ab). The program is of the whole group,
named by one of its sockets; programs of socket filters work too (4.5, 538950a1b752).
"""

from __future__ import annotations

from bpfd import errors
from bpfd.attach import process_socket
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("sk_reuseport", {ProgType.SK_REUSEPORT, ProgType.SOCKET_FILTER}, "CAP_NET_ADMIN")


def plan(program: Program, point: attach_pb2.SkReuseport) -> process_socket.SocketJournal:
    """What `attach` is going to do; raises what it raises for a bad request."""
    HOOK.check(program)
    loaded = program.expected_attach_type
    if point.migrate and loaded not in (0, AttachType.SK_REUSEPORT_SELECT_OR_MIGRATE):
        raise errors.InvalidArgument(
            "sk_reuseport.migrate",
            f"{program.name} was not loaded for it (section sk_reuseport/migrate)",
        )
    return process_socket.plan(HOOK, program, point.socket, migrate=point.migrate)


def attach(
    program: Program,
    point: attach_pb2.SkReuseport,
    journal: process_socket.SocketJournal | None = None,
) -> Attachment:
    """Replaces a program that the group has; see `process_socket` for what is raised."""
    return process_socket.attach(HOOK, program, journal or plan(program, point))
