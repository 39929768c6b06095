# SPDX-License-Identifier: Apache-2.0
"""sk_lookup: which socket gets a connection or a packet that comes in (kernel 5.9,
e9ddbb7707ff)."""

from __future__ import annotations

from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.netns_link import attach_to_netns
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("sk_lookup", {ProgType.SK_LOOKUP}, "CAP_NET_ADMIN")


def attach(program: Program, point: attach_pb2.SkLookup) -> Attachment:
    """Behind the programs that are there; see `attach_to_netns` for what is raised."""
    return attach_to_netns(HOOK, program, AttachType.SK_LOOKUP, point.netns)
