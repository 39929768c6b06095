# SPDX-License-Identifier: Apache-2.0
"""Programs of network namespaces, by interface and hook, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfctl.errors import NotFound

from .places import attachment_row, class_name, flag_names, protocol

if TYPE_CHECKING:
    from bpfd.v1 import links_pb2

    from .machine import Machine

Row = dict[str, Any]

_HOOKS = (
    *("xdp offload", "xdp native", "xdp generic", "tcx ingress", "tc ingress"),
    *("netkit primary", "netkit peer", "tcx egress", "tc egress"),
    *("flow_dissector", "sk_lookup", "netfilter", "route"),
)
"""As packets meet them: of an interface, then of the namespace."""
_XDP_MODES = ("", "native", "generic", "offload")
_WAYS = ("", "ingress", "egress")
_TCX = 1
_NETFILTER_HOOKS = ("pre_routing", "local_in", "forward", "local_out", "post_routing")
_FAMILIES = {2: "ipv4", 10: "ipv6"}


def hook(message: links_pb2.Attachment) -> str:
    """One of `_HOOKS`; empty: it is not of the network."""
    kind = message.point.WhichOneof("point") or ""
    if kind == "xdp":
        return f"xdp {_XDP_MODES[message.point.xdp.mode]}".rstrip()
    if kind == "tc":
        method = "tcx" if message.point.tc.method == _TCX else "tc"
        return f"{method} {_WAYS[message.point.tc.direction]}"
    if kind == "netkit":
        return "netkit peer" if message.point.netkit.peer else "netkit primary"
    return {"lwt": "route"}.get(
        kind, kind if kind in ("flow_dissector", "sk_lookup", "netfilter") else ""
    )


def chosen(machine: Machine, netns: str) -> list[links_pb2.NetworkNamespace]:
    """The namespaces that are meant by a name, a path, an inode or "pid:NUMBER"; empty:
    all. Raises NotFound."""
    every = list(machine.answer.namespaces)
    if not netns:
        return every
    found = [
        each
        for each in every
        if netns in (each.name, each.path, str(each.inode), f"pid:{each.pid}")
    ]
    if not found:
        import difflib

        names = [each.name for each in every if each.name]
        near = difflib.get_close_matches(netns, names, 3)
        hint = "a name, a path, an inode, or pid:NUMBER; `bpfctl net` shows all"
        raise NotFound("network namespace", netns, near, hint)
    return found


def rows(machine: Machine, netns: str = "") -> list[Row]:
    """A row for each attachment of the network, in the order of running. Raises NotFound."""
    found = []
    for inode in _inodes(machine, netns):
        for message in _sorted(machine, inode):
            row = {"hook": hook(message), **attachment_row(message, machine)}
            found.append({"netns_ino": inode, **row})
    return found


def lines(machine: Machine, netns: str = "") -> Iterator[tuple[int, str]]:
    """(depth, text): namespaces with interfaces with programs. Raises NotFound.

    A namespace without programs is left out, unless it was asked for.
    """
    for inode in _inodes(machine, netns):
        messages = _sorted(machine, inode)
        if not messages and not netns:
            continue
        yield 0, _heading(machine, inode)
        place = ""
        for message in messages:
            here = f"{message.interface} ({message.ifindex})" if _is_on_device(message) else ""
            if here and here != place:
                yield 1, here
            place = here
            yield (2 if here else 1), _line(message, machine)


def _is_on_device(message: links_pb2.Attachment) -> bool:
    return bool(message.interface) and hook(message) != "route"


def _inodes(machine: Machine, netns: str) -> list[int]:
    """Namespaces, and 0 for attachments whose namespace is not known."""
    found = [each.inode for each in chosen(machine, netns)]
    return found if netns else [*found, 0]


def _sorted(machine: Machine, inode: int) -> list[links_pb2.Attachment]:
    """By interface and hook; the daemon's order, which is that of running, stays within."""
    found = [
        each
        for each in machine.attachments
        if each.netns_inode == inode and hook(each) and not each.detached
    ]

    def key(message: links_pb2.Attachment) -> tuple[bool, int, int, int, int]:
        name = hook(message)
        index = _HOOKS.index(name) if name in _HOOKS else 0
        of_interface = _is_on_device(message)
        filtering = message.point.netfilter
        return (
            not of_interface,
            message.ifindex if of_interface else 0,
            index,
            filtering.hook,
            filtering.priority,
        )

    return sorted(found, key=key)


def _heading(machine: Machine, inode: int) -> str:
    namespace = machine.namespaces.get(inode)
    if namespace is None:
        return "network namespace unknown (the kernel does not tell that of netfilter links)"
    words = ["network namespace"]
    words.append(namespace.name or ("of the daemon" if not namespace.path else ""))
    words.append(f"net:[{inode}]")
    if namespace.pid:
        words.append(f"{namespace.comm}[{namespace.pid}]")
    return " ".join(filter(None, words))


def _line(message: links_pb2.Attachment, machine: Machine) -> str:
    """ "tcx ingress 1. program 17 drop_all, link 5 of proxy[812], ddos/drop"."""
    head = hook(message) + (f" {message.position}." if message.position else "")
    words = [f"{head:<16} {message.program_id or '?'} {_name(message, machine)}".rstrip()]
    words += _details(message)
    if message.link_id:
        held = [f"{each.comm}[{each.pid}]" for each in message.holders]
        words.append(f"link {message.link_id}" + (f" of {held[0]}" if held else ""))
    words += message.pinned_paths
    if message.link:
        words.append(f"attached as {message.link}")
    return ", ".join(words)


def _name(message: links_pb2.Attachment, machine: Machine) -> str:
    """Of a program in a route the kernel tells no more than what the route calls it."""
    return machine.program_name(message.program_id) or message.member


def _details(message: links_pb2.Attachment) -> Iterator[str]:
    if message.composed_program_id:
        yield f"priority {message.point.xdp.priority} in {message.composed_program_id}"
    if message.HasField("filter"):
        found = message.filter
        yield f"priority {found.priority} handle {found.handle:#x} {protocol(found.protocol)}"
        if found.direct_action:
            yield "direct-action"
        if found.chain:
            yield f"chain {found.chain}"
        if found.block:
            yield f"block {found.block}"
        if found.qdisc not in ("clsact", "ingress"):
            yield f"{found.qdisc} {class_name(found.parent)}"
    elif message.point.HasField("netfilter"):
        where = message.point.netfilter
        family = _FAMILIES.get(where.protocol_family, str(where.protocol_family))
        name = _NETFILTER_HOOKS[where.hook] if where.hook < 5 else str(where.hook)
        yield f"{family} {name} priority {where.priority}"
    elif message.point.HasField("lwt"):
        yield f"{message.target_name} of {message.point.lwt.prefix}"
        if message.interface:
            yield f"dev {message.interface}"
    yield from flag_names(message.attach_flags)
