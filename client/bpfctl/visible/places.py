# SPDX-License-Identifier: Apache-2.0
"""Where a program runs, in words and as a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.listing import attach_type, owners, tracing_place

if TYPE_CHECKING:
    from bpfd.v1 import links_pb2

    from .machine import Machine

Row = dict[str, Any]

_FLAGS = {1: "override", 2: "multi", 64: "preorder"}
"""BPF_F_ALLOW_OVERRIDE, BPF_F_ALLOW_MULTI, BPF_F_PREORDER."""
_PROTOCOLS = {0x0003: "all", 0x0800: "ip", 0x86DD: "ipv6", 0x0806: "arp", 0x8100: "802.1Q"}


def method(message: links_pb2.Attachment) -> str:
    """ "link", "netlink", "filter", "prog_attach", ...; empty: it is not known."""
    from bpfd.v1 import links_pb2

    if not message.method:
        return ""
    name: str = links_pb2.AttachmentMethod.Name(message.method)
    return name.removeprefix("ATTACHMENT_METHOD_").lower()


def flag_names(flags: int) -> list[str]:
    """Of a cgroup's attachment: "multi", "override", "preorder"; others as numbers."""
    names = [name for bit, name in _FLAGS.items() if flags & bit]
    rest = flags & ~sum(_FLAGS)
    return [*names, hex(rest)] if rest else names


def protocol(number: int) -> str:
    """A filter's protocol as tc(8) writes it."""
    return _PROTOCOLS.get(number, f"{number:#06x}")


def class_name(number: int) -> str:
    """A class or qdisc as tc(8) writes it: "1:", "1:10", "ffff:fff2"."""
    return f"{number >> 16:x}:" + (f"{number & 0xFFFF:x}" if number & 0xFFFF else "")


def where(message: links_pb2.Attachment, machine: Machine) -> str:
    """In one line; as `bpfctl attach` would take it, where it can be told so."""
    from bpfctl.attachpoint import describe

    if message.detached:
        return f"nowhere: link {message.link_id} is detached"
    text = describe(message.point)
    target = message.target_name
    match message.point.WhichOneof("point"):
        case "tracing" | "lsm":
            return tracing_place(message.attach_type, target) or f"{text}:{target or '?'}"
        case "tp_btf":
            return f"tp_btf:{target}" if target else text
        case "kprobe_multi" if not message.point.kprobe_multi.functions and target:
            return f"{text}:{target}"
        case "iterator":
            head, *rest = text.split(",")
            return ",".join([f"{head}:{target}", *rest])
        case "struct_ops":
            name = machine.map_name(message.map_id) or str(message.map_id)
            return f"struct_ops:{name}" + (f".{message.member}" if message.member else "")
        case "sk_msg" | "sk_skb":
            name = machine.map_name(message.map_id)
            return f"{text} ({name})" if name else text
        case "lwt":
            return f"{text},{target}"
        case None if method(message) == "map_entry":
            name = machine.map_name(message.map_id) or str(message.map_id)
            return f"{target} {name}[{message.member}]"
        case None:
            return message.link_type_name + (f":{target}" if target else "")
    return text


def short(message: links_pb2.Attachment, machine: Machine) -> str:
    """`where` without what stands behind commas, folders and cgroups above as "…/"; an
    interface or a namespace's hook is followed by "@NAMESPACE" where it is not the daemon's."""
    from bpfctl.attachpoint.text import split

    head = split(where(message, machine), ",", 1)[0]
    if message.netns_inode and (namespace := machine.namespace_name(message.netns_inode)):
        head += f"@{namespace}"
    kind, colon, subject = head.partition(":")
    folder, slash, name = subject.rpartition("/")
    if folder.startswith("/") and slash:
        return f"{kind}{colon}…/{name}" if message.cgroup_path else f"{kind}{colon}{name}"
    return head


def attachment_row(message: links_pb2.Attachment, machine: Machine) -> Row:
    """Everything that is known of an attachment; what does not apply is left out."""
    from bpfctl.attachpoint import describe

    row: Row = {
        "prog_id": message.program_id or None,
        "name": machine.program_name(message.program_id),
        "method": method(message),
        "where": where(message, machine),
        "point": describe(message.point),
        "link_id": message.link_id,
        "link_type": message.link_type_name,
        "attach_type": (
            attach_type(message.attach_type) if message.HasField("attach_type") else ""
        ),
        "netns_ino": message.netns_inode,
        "netns": machine.namespace_name(message.netns_inode),
        "ifindex": message.ifindex,
        "ifname": message.interface,
        "cgroup": message.cgroup_path,
        "cgroup_id": message.cgroup_id,
        "map_id": message.map_id,
        "map": machine.map_name(message.map_id),
        "position": message.position,
        "composed_prog_id": message.composed_program_id,
        "revision": message.revision,
        "attach_flags": flag_names(message.attach_flags),
        "inherited": message.inherited,
        "detached": message.detached,
        "filter": _filter_row(message.filter) if message.HasField("filter") else {},
        "target": message.target_name,
        "offset": message.offset,
        "address": message.address,
        "member": message.member,
        "events": [{"pid": each.pid, "fd": each.fd} for each in message.events],
        "link": message.link,
    }
    row = {name: value for name, value in row.items() if value not in ("", 0, [], {}, False)}
    return row | owners(message.pinned_paths, message.holders)


def _filter_row(found: links_pb2.TcFilter) -> Row:
    row: Row = {
        "kind": found.kind,
        "name": found.name,
        "qdisc": found.qdisc,
        "parent": class_name(found.parent) if found.parent else "",
        "block": found.block,
        "chain": found.chain,
        "protocol": protocol(found.protocol),
        "priority": found.priority,
        "handle": found.handle,
        "direct_action": found.direct_action,
        "class_id": class_name(found.class_id) if found.class_id else "",
        "hardware_flags": found.hardware_flags,
    }
    return {name: value for name, value in row.items() if value not in ("", 0)}
