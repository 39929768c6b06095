# SPDX-License-Identifier: Apache-2.0
"""flow_dissector: how packets of a network namespace are parsed into flows.

Kernel 4.20 (d58e468b1112), by a link 5.8 (7f045a49fee0). One program for a namespace.
"""

from __future__ import annotations

from bpfd.attach.attachment import Attachment, Program, hook
from bpfd.attach.netns_link import attach_to_netns
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

HOOK = hook("flow_dissector", {ProgType.FLOW_DISSECTOR}, "CAP_NET_ADMIN")


def attach(program: Program, point: attach_pb2.FlowDissector) -> Attachment:
    """See `attach_to_netns` for what is raised; AttachBusy where a program is."""
    return attach_to_netns(HOOK, program, AttachType.FLOW_DISSECTOR, point.netns)
