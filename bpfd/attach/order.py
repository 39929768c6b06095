# SPDX-License-Identifier: Apache-2.0
"""A program's place among others on one hook (tcx, netkit, cgroups: kernel's bpf_mprog).

Kernel 6.6 (053c8e1f235d) for tcx, 6.17 (1209339844601) for cgroups.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from bpfd import errors
from bpfd.kernel.constants import BPF_F_AFTER, BPF_F_BEFORE, BPF_F_ID, BPF_F_LINK
from bpfd.v1 import attach_pb2

_NO_ANCHOR = (errno.ENOENT, errno.EDOM, errno.EINVAL, errno.EBADF)


@dataclass(frozen=True)
class Words:
    """What BPF_LINK_CREATE takes: flags, and the words behind them."""

    flags: int
    rest: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.flags or any(self.rest))


def words(order: attach_pb2.Order) -> Words:
    """The kernel's flags for an order; an empty order asks for the end."""
    anchor = order.WhichOneof("anchor")
    flags = relative = 0
    match anchor:
        case "before_program_id":
            flags, relative = BPF_F_BEFORE | BPF_F_ID, order.before_program_id
        case "after_program_id":
            flags, relative = BPF_F_AFTER | BPF_F_ID, order.after_program_id
        case "before_link_id":
            flags, relative = BPF_F_BEFORE | BPF_F_ID | BPF_F_LINK, order.before_link_id
        case "after_link_id":
            flags, relative = BPF_F_AFTER | BPF_F_ID | BPF_F_LINK, order.after_link_id
        case "first":
            flags = BPF_F_BEFORE if order.first else 0
    if anchor and anchor != "first" and not relative:
        raise errors.InvalidArgument(f"order.{anchor}", "ids start at 1")
    return Words(flags, (relative, order.expected_revision))


def anchor_missing(
    order: attach_pb2.Order, point: str, error: OSError
) -> errors.BpfdError | None:
    """The error when what the order refers to is not on the hook; None: another reason."""
    anchor = order.WhichOneof("anchor")
    if anchor in (None, "first") or error.errno not in _NO_ANCHOR:
        return None
    kind = "program" if "program" in anchor else "link"
    return missing(kind, getattr(order, anchor), point)


def missing(kind: str, number: int, point: str) -> errors.NotFound:
    """The error for an anchor that is not on the hook."""
    return errors.NotFound(kind, str(number), hint=f"it is not attached to {point}")
