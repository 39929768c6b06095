# SPDX-License-Identifier: Apache-2.0
"""clsact filters of the calling thread's network namespace.

libbpf makes and removes qdisc and filters; what it does not offer, the list of filters on
an interface, is asked here by rtnetlink (RTM_GETTFILTER; linux/rtnetlink.h, pkt_cls.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from dataclasses import dataclass

from bpfd.kernel import rtnetlink
from bpfd.kernel.libbpf import Messages, TcHook, TcOpts, library

INGRESS, EGRESS = 1, 2
"""enum bpf_tc_attach_point."""

_REPLACE = 1  # BPF_TC_F_REPLACE
_PARENTS = {INGRESS: 0xFFFFFFF2, EGRESS: 0xFFFFFFF3}  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_...)

_RTM_GETTFILTER, _RTM_GETQDISC = 46, 38
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_ID = 11
_TCMSG = struct.Struct("=BxxxiIII")  # family, ifindex, handle, parent, info


@dataclass(frozen=True)
class Filter:
    """One filter; `program_id` is 0 for what is not BPF or hides it."""

    kind: str
    handle: int
    priority: int
    program_id: int


def create_qdisc(ifindex: int) -> bool:
    """Makes the clsact qdisc. Returns whether it was missing. Raises OSError."""
    try:
        _call("bpf_tc_hook_create", _hook(ifindex, INGRESS))
    except FileExistsError:
        return False
    return True


def remove_qdisc_if_empty(ifindex: int) -> bool:
    """Removes the clsact qdisc when no filter is on it. Returns whether it did."""
    if any(filters(ifindex, INGRESS)) or any(filters(ifindex, EGRESS)):
        return False
    try:
        _call("bpf_tc_hook_destroy", _hook(ifindex, INGRESS | EGRESS))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            raise
        return False
    return True


def attach(
    ifindex: int, point: int, prog_fd: int, handle: int, priority: int, *, replace: bool
) -> None:
    """Puts a direct-action filter there; with `replace` in place of the one that is there.

    Raises OSError; EEXIST when there is one and `replace` is false.
    """
    options = _options(handle, priority)
    options.prog_fd, options.flags = prog_fd, _REPLACE if replace else 0
    _call("bpf_tc_attach", _hook(ifindex, point), options)


def detach(ifindex: int, point: int, handle: int, priority: int) -> None:
    """Removes the filter. Raises OSError; ENOENT when there is none."""
    _call("bpf_tc_detach", _hook(ifindex, point), _options(handle, priority))


def program_at(ifindex: int, point: int, handle: int, priority: int) -> int:
    """Kernel id of the program of that filter; 0: there is no such filter."""
    options = _options(handle, priority)
    try:
        _call("bpf_tc_query", _hook(ifindex, point), options)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            return 0
        raise
    return int(options.prog_id)


def has_qdisc(ifindex: int) -> bool:
    """Whether the interface has a clsact (or ingress) qdisc."""
    request = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, 0, 0)
    for message in rtnetlink.dump(_RTM_GETQDISC, request):
        _, index, _, parent, _ = _TCMSG.unpack_from(message)
        if index == ifindex and parent == 0xFFFFFFF1:
            return True
    return False


def filters(ifindex: int, point: int) -> list[Filter]:
    """The filters of one direction, those of other owners too. Raises OSError."""
    request = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, _PARENTS[point], 0)
    found = []
    for message in rtnetlink.dump(_RTM_GETTFILTER, request):
        _, _, handle, parent, info = _TCMSG.unpack_from(message)
        if parent != _PARENTS[point] or not handle:
            continue  # a line of the class without filter
        attributes = dict(rtnetlink.attributes(message[_TCMSG.size :]))
        kind = attributes.get(_TCA_KIND, b"").rstrip(b"\0").decode(errors="replace")
        options = dict(rtnetlink.attributes(attributes.get(_TCA_OPTIONS, b"")))
        number = options.get(_TCA_BPF_ID, b"") if kind == "bpf" else b""
        program_id = struct.unpack("=I", number)[0] if len(number) == 4 else 0
        found.append(Filter(kind, handle, info >> 16, program_id))
    return found


def _hook(ifindex: int, point: int) -> TcHook:
    return TcHook(sz=ctypes.sizeof(TcHook), ifindex=ifindex, attach_point=point)


def _options(handle: int, priority: int) -> TcOpts:
    return TcOpts(sz=ctypes.sizeof(TcOpts), handle=handle, priority=priority)


def _call(name: str, *arguments: ctypes.Structure) -> None:
    with Messages():
        result = getattr(library(), name)(*(ctypes.byref(each) for each in arguments))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
