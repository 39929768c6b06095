# SPDX-License-Identifier: Apache-2.0
"""Every qdisc, class and filter of the calling thread's network namespace (rtnetlink).

Formats: struct tcmsg of linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.kernel import rtnetlink

INGRESS_PARENT, EGRESS_PARENT = 0xFFFFFFF2, 0xFFFFFFF3
"""The two sides of clsact, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS and _EGRESS)."""

_INGRESS_ROOT = 0xFFFFFFF1
_RTM_GETQDISC, _RTM_GETTCLASS, _RTM_GETTFILTER = 38, 42, 46
_TCMSG = struct.Struct("=BxxxiIII")  # family, ifindex, handle, parent, info
_KIND, _OPTIONS, _CHAIN, _INGRESS_BLOCK, _EGRESS_BLOCK = 1, 2, 11, 13, 14
_BPF_CLASS_ID, _BPF_NAME, _BPF_FLAGS, _BPF_FLAGS_GEN, _BPF_ID = 3, 7, 8, 9, 11
_DIRECT_ACTION = 1  # TCA_BPF_FLAG_ACT_DIRECT
_BLOCK_MAGIC = 0xFFFFFFFF
"""tcm_ifindex of what belongs to a block; `parent` is then the block's index."""


@dataclass(frozen=True)
class Qdisc:
    """A queueing discipline of an interface."""

    ifindex: int
    kind: str
    handle: int
    parent: int
    ingress_block: int
    egress_block: int

    @property
    def is_ingress(self) -> bool:
        """Whether it is the one that received packets meet: clsact or ingress."""
        return self.parent == _INGRESS_ROOT


@dataclass(frozen=True)
class BpfFilter:
    """A classifier that is a BPF program."""

    parent: int
    """The class or qdisc that was asked."""
    block: int
    """Index of the block that it belongs to; 0: of this interface alone."""
    handle: int
    priority: int
    protocol: int
    chain: int
    program_id: int
    name: str
    direct_action: bool
    class_id: int
    hardware_flags: int


def qdiscs() -> list[Qdisc]:
    """The qdiscs of every interface. Raises OSError."""
    request = _TCMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return [qdisc_of(message) for message in rtnetlink.dump(_RTM_GETQDISC, request)]


def qdisc_of(message: bytes) -> Qdisc:
    """The qdisc that a message of the dump tells of. Pure."""
    _, ifindex, handle, parent, _ = _TCMSG.unpack_from(message)
    attributes = dict(rtnetlink.attributes(message[_TCMSG.size :]))
    return Qdisc(
        *(ifindex, _text(attributes.get(_KIND, b"")), handle, parent),
        _number(attributes, _INGRESS_BLOCK),
        _number(attributes, _EGRESS_BLOCK),
    )


def parents(qdisc: Qdisc) -> Iterator[int]:
    """Where filters of a qdisc may hang: its sides, or itself and its classes."""
    if qdisc.kind == "clsact":
        yield from (INGRESS_PARENT, EGRESS_PARENT)
        return
    if not qdisc.handle:
        return
    yield qdisc.handle
    if qdisc.is_ingress or qdisc.kind == "mq":
        return
    request = _TCMSG.pack(socket.AF_UNSPEC, qdisc.ifindex, 0, qdisc.handle, 0)
    for message in rtnetlink.dump(_RTM_GETTCLASS, request):
        _, _, handle, _, _ = _TCMSG.unpack_from(message)
        if handle != qdisc.handle:
            yield handle


def filters(ifindex: int, parent: int) -> list[BpfFilter]:
    """BPF classifiers below a parent, in the order in which they run. Raises OSError."""
    request = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, parent, 0)
    found = (filter_of(message, parent) for message in rtnetlink.dump(_RTM_GETTFILTER, request))
    return [each for each in found if each is not None]


def filter_of(message: bytes, parent: int) -> BpfFilter | None:
    """The BPF classifier that a message of the dump tells of; None: it is another. Pure."""
    _, ifindex, handle, owner, info = _TCMSG.unpack_from(message)
    attributes = dict(rtnetlink.attributes(message[_TCMSG.size :]))
    if _text(attributes.get(_KIND, b"")) != "bpf" or not handle:
        return None
    options = dict(rtnetlink.attributes(attributes.get(_OPTIONS, b"")))
    return BpfFilter(
        parent=parent,
        block=owner if ifindex & 0xFFFFFFFF == _BLOCK_MAGIC else 0,
        handle=handle,
        priority=info >> 16,
        protocol=socket.ntohs(info & 0xFFFF),
        chain=_number(attributes, _CHAIN),
        program_id=_number(options, _BPF_ID),
        name=_text(options.get(_BPF_NAME, b"")),
        direct_action=bool(_number(options, _BPF_FLAGS) & _DIRECT_ACTION),
        class_id=_number(options, _BPF_CLASS_ID),
        hardware_flags=_number(options, _BPF_FLAGS_GEN),
    )


def _number(attributes: dict[int, bytes], kind: int) -> int:
    data = attributes.get(kind, b"")
    return int(struct.unpack("=I", data)[0]) if len(data) == 4 else 0


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
