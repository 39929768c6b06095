# SPDX-License-Identifier: Apache-2.0
"""sk_msg: what the sockets of a sockmap or sockhash send (kernel 4.17, 4f738adba30a)."""

from __future__ import annotations

from bpfd.attach import sockmap
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("sk_msg", {ProgType.SK_MSG}, "CAP_NET_ADMIN")

_TYPE = AttachType.SK_MSG_VERDICT


def plan(program: Program, point: attach_pb2.SkMsg) -> sockmap.SockmapJournal | None:
    """What `attach` is going to do where no kernel link keeps it; None: it makes a link."""
    HOOK.check(program)
    return None if sockmap.has_link() else sockmap.plan(program, point.map, _TYPE)


def attach(
    program: Program,
    point: attach_pb2.SkMsg,
    journal: sockmap.SockmapJournal | None = None,
) -> Attachment:
    """For sockets that are put into the map afterwards; raises as `sockmap.attach`."""
    HOOK.check(program)
    if journal is None:
        journal = plan(program, point)
    return sockmap.attach(HOOK, program, point.map, _TYPE, journal)
