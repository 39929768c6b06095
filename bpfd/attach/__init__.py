# SPDX-License-Identifier: Apache-2.0
"""Hooks: one file each, and the table that finds the file for an attach point.

A new hook is a message in attach.proto, a file here with `attach(program, point)`, and a
line in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpfd import errors
from bpfd.attach import (
    cgroup_device,
    cgroup_skb,
    cgroup_sock,
    cgroup_sock_addr,
    cgroup_sockopt,
    cgroup_sysctl,
    clsact,
    flow_dissector,
    freplace,
    iterator,
    kprobe,
    kprobe_multi,
    ksyscall,
    lsm,
    lsm_cgroup,
    lwt,
    netfilter,
    netkit,
    perf_event,
    process_socket,
    raw_tracepoint,
    sk_lookup,
    sk_msg,
    sk_reuseport,
    sk_skb,
    sock_ops,
    socket_filter,
    sockmap,
    struct_ops,
    tc,
    tp_btf,
    tracepoint,
    tracing,
    uprobe,
    uprobe_multi,
    usdt,
    xdp,
)
from bpfd.attach.attachment import Attachment, Hook, Journal, Program
from bpfd.v1 import attach_pb2

_HOOKS: dict[str, tuple[Hook, Callable[..., Attachment]]] = {
    "xdp": (xdp.HOOK, xdp.attach),
    "tc": (tc.HOOK, tc.attach),
    "cgroup_skb": (cgroup_skb.HOOK, cgroup_skb.attach),
    "sock_ops": (sock_ops.HOOK, sock_ops.attach),
    "cgroup_sock": (cgroup_sock.HOOK, cgroup_sock.attach),
    "cgroup_sock_addr": (cgroup_sock_addr.HOOK, cgroup_sock_addr.attach),
    "cgroup_sockopt": (cgroup_sockopt.HOOK, cgroup_sockopt.attach),
    "cgroup_sysctl": (cgroup_sysctl.HOOK, cgroup_sysctl.attach),
    "cgroup_device": (cgroup_device.HOOK, cgroup_device.attach),
    "sk_msg": (sk_msg.HOOK, sk_msg.attach),
    "sk_skb": (sk_skb.HOOK, sk_skb.attach),
    "sk_reuseport": (sk_reuseport.HOOK, sk_reuseport.attach),
    "socket_filter": (socket_filter.HOOK, socket_filter.attach),
    "sk_lookup": (sk_lookup.HOOK, sk_lookup.attach),
    "flow_dissector": (flow_dissector.HOOK, flow_dissector.attach),
    "tracepoint": (tracepoint.HOOK, tracepoint.attach),
    "raw_tracepoint": (raw_tracepoint.HOOK, raw_tracepoint.attach),
    "tp_btf": (tp_btf.HOOK, tp_btf.attach),
    "kprobe": (kprobe.HOOK, kprobe.attach),
    "kprobe_multi": (kprobe_multi.HOOK, kprobe_multi.attach),
    "ksyscall": (ksyscall.HOOK, ksyscall.attach),
    "uprobe": (uprobe.HOOK, uprobe.attach),
    "uprobe_multi": (uprobe_multi.HOOK, uprobe_multi.attach),
    "tracing": (tracing.HOOK, tracing.attach),
    "lsm": (lsm.HOOK, lsm.attach),
    "lsm_cgroup": (lsm_cgroup.HOOK, lsm_cgroup.attach),
    "netkit": (netkit.HOOK, netkit.attach),
    "netfilter": (netfilter.HOOK, netfilter.attach),
    "lwt": (lwt.HOOK, lwt.attach),
    "freplace": (freplace.HOOK, freplace.attach),
    "usdt": (usdt.HOOK, usdt.attach),
    "iterator": (iterator.HOOK, iterator.attach),
    "struct_ops": (struct_ops.HOOK, struct_ops.attach),
    "perf_event": (perf_event.HOOK, perf_event.attach),
}

_PLANS: dict[str, Callable[[Program, Any], Journal | None]] = {
    "tc": tc.plan,
    "struct_ops": struct_ops.plan,
    "lwt": lwt.plan,
    "sk_msg": sk_msg.plan,
    "sk_skb": sk_skb.plan,
    "sk_reuseport": sk_reuseport.plan,
    "socket_filter": socket_filter.plan,
}
"""Of hooks that may attach without a kernel link; their `attach` takes the journal too."""

_JOURNALS: dict[str, Callable[[dict[str, Any]], Journal]] = {
    "clsact": clsact.ClsactJournal.from_json,
    "struct_ops": struct_ops.StructOpsJournal.from_json,
    "lwt": lwt.LwtJournal.from_json,
    "sockmap": sockmap.SockmapJournal.from_json,
    "socket": process_socket.SocketJournal.from_json,
}
"""How journals are read, by their "kind"."""


def plan(program: Program, point: attach_pb2.AttachPoint) -> Journal | None:
    """What must be written down before `attach`, because no kernel link keeps it; or None.

    Touches nothing. Raises what `attach` raises for a bad request.
    """
    kind = kind_of(point)
    hook_of(kind).check(program)
    planner = _PLANS.get(kind)
    return planner(program, getattr(point, kind)) if planner else None


def attach(
    program: Program, point: attach_pb2.AttachPoint, journal: Journal | None = None
) -> Attachment:
    """Attaches a program; `journal` is what `plan` gave for the same request.

    Blocks, up to some tens of milliseconds, and may move the calling thread to another
    network namespace meanwhile: run it in a worker thread. Raises NotSupported for a hook
    without file, and what the hook's own `attach` raises; then nothing is attached.
    """
    kind = kind_of(point)
    hook_of(kind)
    more = () if journal is None else (journal,)
    return _HOOKS[kind][1](program, getattr(point, kind), *more)


def kind_of(point: attach_pb2.AttachPoint) -> str:
    """The field of the oneof that is set. Raises InvalidArgument when none is."""
    kind = point.WhichOneof("point")
    if kind is None:
        raise errors.InvalidArgument("point", "nothing to attach to is named")
    return kind


def hook_of(kind: str) -> Hook:
    """The hook of a field of AttachPoint. Raises NotSupported when this daemon has none."""
    if kind not in _HOOKS:
        raise errors.NotSupported(
            f"attaching to {kind}", needs=f"this daemon attaches to {', '.join(_HOOKS)}"
        )
    return _HOOKS[kind][0]


def kinds() -> list[str]:
    """Fields of AttachPoint that this daemon attaches to."""
    return list(_HOOKS)


def journal_from_json(data: dict[str, Any]) -> Journal:
    """A journal that `Journal.to_json` wrote. Raises ValueError."""
    read = _JOURNALS.get(data["kind"]) if isinstance(data, dict) and "kind" in data else None
    if read is None:
        raise ValueError("not the journal of a hook")
    return read(data)


def adopt_journal(journal: Journal) -> Attachment | None:
    """The attachment that a journal of an earlier daemon tells of; None: it is gone."""
    return journal.adopt(hook_of(kind_of(journal.point())))


__all__ = [
    "Attachment",
    "Hook",
    "Journal",
    "Program",
    "adopt_journal",
    "attach",
    "hook_of",
    "journal_from_json",
    "kind_of",
    "kinds",
    "plan",
]
