# SPDX-License-Identifier: Apache-2.0
"""sk_skb: what the sockets of a sockmap or sockhash receive.

stream_parser cuts a stream into messages, stream_verdict decides over each (kernel 4.14,
174a79ff9515); verdict decides without a parser (5.13, a7ba4558e69a).
"""

from __future__ import annotations

from bpfd.attach import sockmap
from bpfd.attach.attach_type import chosen
from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("sk_skb", {ProgType.SK_SKB}, "CAP_NET_ADMIN")


def plan(program: Program, point: attach_pb2.SkSkb) -> sockmap.SockmapJournal | None:
    """What `attach` is going to do where no kernel link keeps it; None: it makes a link."""
    attach_type = _attach_type(program, point)
    return None if sockmap.has_link() else sockmap.plan(program, point.map, attach_type)


def attach(
    program: Program,
    point: attach_pb2.SkSkb,
    journal: sockmap.SockmapJournal | None = None,
) -> Attachment:
    """For sockets that are put into the map afterwards; raises as `sockmap.attach`.

    A hook that is not given is the one that the program was loaded for.
    """
    attach_type = _attach_type(program, point)
    if journal is None:
        journal = plan(program, point)
    return sockmap.attach(HOOK, program, point.map, attach_type, journal)


def _attach_type(program: Program, point: attach_pb2.SkSkb) -> int:
    HOOK.check(program)
    name = attach_pb2.SkSkbHook.Name
    return chosen(program, point.hook, sockmap.HOOKS, name, "sk_skb.hook")
