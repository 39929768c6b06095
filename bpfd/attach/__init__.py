# SPDX-License-Identifier: Apache-2.0
"""Hooks: one file each, found by the name of the attach point's field.

A new hook is a message in attach.proto, a file here of the field's name with `HOOK` and
`attach(program, point)`, and its name in the list. Files are imported when they are first
asked for: a daemon that starts needs none of them.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from bpfd import errors
from bpfd.attach.attachment import Attachment, Hook, Journal, Named, Program
from bpfd.v1 import attach_pb2

_KINDS = (
    *("xdp", "tc", "cgroup_skb", "sock_ops", "cgroup_sock", "cgroup_sock_addr"),
    *("cgroup_sockopt", "cgroup_sysctl", "cgroup_device", "sk_msg", "sk_skb"),
    *("sk_reuseport", "socket_filter", "sk_lookup", "flow_dissector", "tracepoint"),
    *("raw_tracepoint", "tp_btf", "kprobe", "kprobe_multi", "ksyscall", "uprobe"),
    *("uprobe_multi", "tracing", "lsm", "lsm_cgroup", "netkit", "netfilter", "lwt"),
    *("freplace", "usdt", "iterator", "struct_ops", "perf_event"),
)
"""Those that may attach without a kernel link also have `plan(program, point)`; their
`attach` takes the journal too. Those whose kernel links are shared have `attach_as(program,
point, named)`."""

_JOURNALS = {
    "clsact": ("clsact", "ClsactJournal"),
    "struct_ops": ("struct_ops", "StructOpsJournal"),
    "lwt": ("lwt", "LwtJournal"),
    "sockmap": ("sockmap", "SockmapJournal"),
    "socket": ("process_socket", "SocketJournal"),
}
"""File and class of journals by their "kind"."""


def _file(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def plan(program: Program, point: attach_pb2.AttachPoint) -> Journal | None:
    """What must be written down before `attach`, because no kernel link keeps it; or None.

    Touches nothing. Raises what `attach` raises for a bad request.
    """
    kind = kind_of(point)
    hook_of(kind).check(program)
    planner = getattr(_file(kind), "plan", None)
    found: Journal | None = planner(program, getattr(point, kind)) if planner else None
    return found


def attach(
    program: Program,
    point: attach_pb2.AttachPoint,
    journal: Journal | None = None,
    named: Named | None = None,
) -> Attachment:
    """Attaches a program; `journal` is what `plan` gave for the same request.

    `named` is the link that it becomes, where it becomes one.

    Blocks, up to some tens of milliseconds, and may move the calling thread to another
    network namespace meanwhile: run it in a worker thread. Raises NotSupported for a hook
    without file, and what the hook's own `attach` raises; then nothing is attached.
    """
    kind = kind_of(point)
    hook_of(kind)
    file, where = _file(kind), getattr(point, kind)
    attachment: Attachment
    if named is not None and hasattr(file, "attach_as"):
        attachment = file.attach_as(program, where, named)
    else:
        attachment = file.attach(program, where, *(() if journal is None else (journal,)))
    return attachment


def kind_of(point: attach_pb2.AttachPoint) -> str:
    """The field of the oneof that is set. Raises InvalidArgument when none is."""
    kind = point.WhichOneof("point")
    if kind is None:
        raise errors.InvalidArgument("point", "nothing to attach to is named")
    return kind


def hook_of(kind: str) -> Hook:
    """The hook of a field of AttachPoint. Raises NotSupported when this daemon has none."""
    if kind not in _KINDS:
        raise errors.NotSupported(
            f"attaching to {kind}", needs=f"this daemon attaches to {', '.join(_KINDS)}"
        )
    hook: Hook = _file(kind).HOOK
    return hook


def kinds() -> list[str]:
    """Fields of AttachPoint that this daemon attaches to."""
    return list(_KINDS)


def journal_from_json(data: dict[str, Any]) -> Journal:
    """A journal that `Journal.to_json` wrote. Raises ValueError."""
    place = _JOURNALS.get(data["kind"]) if isinstance(data, dict) and "kind" in data else None
    if place is None:
        raise ValueError("not the journal of a hook")
    file, kind = place
    journal: Journal = getattr(_file(file), kind).from_json(data)
    return journal


def adopt_journal(journal: Journal) -> Attachment | None:
    """The attachment that a journal of an earlier daemon tells of; None: it is gone."""
    return journal.adopt(hook_of(kind_of(journal.point())))


__all__ = [
    "Attachment",
    "Hook",
    "Journal",
    "Named",
    "Program",
    "adopt_journal",
    "attach",
    "hook_of",
    "journal_from_json",
    "kind_of",
    "kinds",
    "plan",
]
