# SPDX-License-Identifier: Apache-2.0
"""Programs, maps, links and objects as plain rows for output.

Fields that bpftool's JSON has carry bpftool's names and meanings (`bpftool -j prog|map|link
list`); `object`, `link` and what else only a daemon knows comes behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

    from bpfd.v1 import common_pb2, links_pb2, objects_pb2, target_pb2

Row = dict[str, Any]

# enum bpf_attach_type of include/uapi/linux/bpf.h, in its order.
_ATTACH_TYPES = (
    "cgroup_inet_ingress",
    "cgroup_inet_egress",
    "cgroup_inet_sock_create",
    "cgroup_sock_ops",
    "sk_skb_stream_parser",
    "sk_skb_stream_verdict",
    "cgroup_device",
    "sk_msg_verdict",
    "cgroup_inet4_bind",
    "cgroup_inet6_bind",
    "cgroup_inet4_connect",
    "cgroup_inet6_connect",
    "cgroup_inet4_post_bind",
    "cgroup_inet6_post_bind",
    "cgroup_udp4_sendmsg",
    "cgroup_udp6_sendmsg",
    "lirc_mode2",
    "flow_dissector",
    "cgroup_sysctl",
    "cgroup_udp4_recvmsg",
    "cgroup_udp6_recvmsg",
    "cgroup_getsockopt",
    "cgroup_setsockopt",
    "trace_raw_tp",
    "trace_fentry",
    "trace_fexit",
    "modify_return",
    "lsm_mac",
    "trace_iter",
    "cgroup_inet4_getpeername",
    "cgroup_inet6_getpeername",
    "cgroup_inet4_getsockname",
    "cgroup_inet6_getsockname",
    "xdp_devmap",
    "cgroup_inet_sock_release",
    "xdp_cpumap",
    "sk_lookup",
    "xdp",
    "sk_skb_verdict",
    "sk_reuseport_select",
    "sk_reuseport_select_or_migrate",
    "perf_event",
    "trace_kprobe_multi",
    "lsm_cgroup",
    "struct_ops",
    "netfilter",
    "tcx_ingress",
    "tcx_egress",
    "trace_uprobe_multi",
    "cgroup_unix_connect",
    "cgroup_unix_sendmsg",
    "cgroup_unix_recvmsg",
    "cgroup_unix_getpeername",
    "cgroup_unix_getsockname",
    "netkit_primary",
    "netkit_peer",
    "trace_kprobe_session",
    *("trace_uprobe_session", "trace_fsession"),
)

# A tracing link says what its program is by the attach type alone; that of freplace is 0.
_TRACING_PROGRAMS: dict[str | int, str] = {"lsm_mac": "lsm", "cgroup_inet_ingress": "ext"}


def program_type(number: int) -> str | int:
    """bpftool's name of a program type; the number itself where there is none."""
    from bpfd.v1 import common_pb2

    return _enum_name(common_pb2.ProgramType, number, "PROGRAM_TYPE_")


def program_types() -> list[str]:
    """Names of all program types that are known here."""
    from bpfd.v1 import common_pb2

    names = common_pb2.ProgramType.keys()[1:]
    return [each.removeprefix("PROGRAM_TYPE_").lower() for each in names]


def map_type(number: int) -> str | int:
    """bpftool's name of a map type; the number itself where there is none."""
    from bpfd.v1 import common_pb2

    return _enum_name(common_pb2.MapType, number, "MAP_TYPE_")


def attach_type(number: int) -> str | int:
    """bpftool's name of an attach type; the number itself where there is none."""
    return _ATTACH_TYPES[number] if number < len(_ATTACH_TYPES) else number


def _enum_name(enum: Any, number: int, prefix: str) -> str | int:
    try:
        return str(enum.Name(number)).removeprefix(prefix).lower()
    except ValueError:
        return number


def program_row(program: common_pb2.KernelProgram) -> Row:
    """A program; what is not known or does not apply is left out, as bpftool does."""
    row: Row = {
        "id": program.id,
        "type": program_type(program.type),
        "name": program.name,
        "tag": program.tag.hex(),
        "gpl_compatible": program.gpl_compatible,
    }
    if program.run_count:
        row |= {"run_time_ns": program.run_time_ns, "run_cnt": program.run_count}
    if program.recursion_misses:
        row["recursion_misses"] = program.recursion_misses
    if program.ifindex:
        row["ifindex"] = program.ifindex
    row |= {
        "loaded_at": program.loaded_at.seconds,
        "uid": program.uid,
        "orphaned": program.orphaned,
        "bytes_xlated": program.bytes_xlated,
        "jited": program.jited,
    }
    if program.jited:
        row["bytes_jited"] = program.bytes_jited
    row["bytes_memlock"] = program.bytes_memlock
    if program.map_ids:
        row["map_ids"] = list(program.map_ids)
    if program.btf_id:
        row["btf_id"] = program.btf_id
    row |= owners(program.pinned_paths, program.holders)
    if program.verified_insns:
        row["verified_insns"] = program.verified_insns
    if program.object:
        row["object"] = program.object
    if program.link_ids:
        row["link_ids"] = list(program.link_ids)
    return row


def map_row(entry: common_pb2.KernelMap) -> Row:
    """A map; what is not known or does not apply is left out, as bpftool does."""
    row: Row = {"id": entry.id, "type": map_type(entry.type)}
    if entry.name:
        row["name"] = entry.name
    row |= {
        "flags": entry.flags,
        "bytes_key": entry.key_size,
        "bytes_value": entry.value_size,
        "max_entries": entry.max_entries,
        "bytes_memlock": entry.bytes_memlock,
    }
    if entry.owner_program_type:
        row["owner_prog_type"] = program_type(entry.owner_program_type)
        row["owner_jited"] = entry.owner_jited
    row["frozen"] = int(entry.frozen)
    if entry.ifindex:
        row["ifindex"] = entry.ifindex
    if entry.map_extra:
        row["map_extra"] = entry.map_extra
    if entry.btf_id:
        row["btf_id"] = entry.btf_id
    row |= owners(entry.pinned_paths, entry.holders)
    if entry.object:
        row |= {"object": entry.object, "member": entry.member}
    return row


def link_row(link: links_pb2.KernelLink) -> Row:
    """A kernel link; what is not known or does not apply is left out, as bpftool does."""
    from bpfctl.attachpoint import describe

    row: Row = {
        "id": link.id,
        "type": link.type_name or link.type,
        "prog_id": link.program_id,
    }
    if link.type_name == "tracing" and link.HasField("attach_type"):
        row["prog_type"] = _TRACING_PROGRAMS.get(attach_type(link.attach_type), "tracing")
    if link.HasField("attach_type"):
        row["attach_type"] = attach_type(link.attach_type)
    for name, value in (
        ("ifindex", link.ifindex),
        ("cgroup_id", link.cgroup_id),
        ("netns_ino", link.netns_inode),
        ("map_id", link.map_id),
        ("target_obj_id", link.target_obj_id),
        ("target_btf_id", link.target_btf_id),
    ):
        if value:
            row[name] = value
    if link.target_name:
        row["tp_name" if link.type_name == "raw_tracepoint" else "target_name"] = (
            link.target_name
        )
        if link.offset:
            row["offset"] = link.offset
    row |= _more_of_link(link)
    row |= owners(link.pinned_paths, link.holders)
    if link.type_name == "tracing":
        row["point"] = _tracing_point(link)
    elif link.HasField("point"):
        row["point"] = describe(link.point)
    if link.link:
        row["link"] = link.link
    if link.type_name in _PLACES:
        row["state"] = "attached" if getattr(link, _PLACES[link.type_name]) else "detached"
    return row


def _more_of_link(link: links_pb2.KernelLink) -> Row:
    """What bpftool tells of kinds of links that are at functions, files or packet hooks."""
    if link.type_name == "netfilter":
        found = link.point.netfilter
        return {
            "pf": found.protocol_family,
            "hook": found.hook,
            "prio": found.priority,
            "flags": int(found.defragment),
        }
    if link.type_name in ("kprobe_multi", "uprobe_multi") and link.place_count:
        return _places_of_link(link)
    if link.type_name != "perf_event" or not link.perf_type:
        return {}
    point = getattr(link.point, link.point.WhichOneof("point") or "perf_event")
    row: Row = {}
    if link.perf_type in (_TRACEPOINT, _EVENT):
        if link.perf_type == _TRACEPOINT:
            row["tracepoint"] = link.target_name
        else:
            row["event_type"] = _EVENT_TYPES.get(point.type, point.type)
            row["event_config"] = point.config
        return row | {"cookie": point.cookie}
    row["retprobe"] = point.ret
    if link.perf_type in _UPROBES:
        return row | {"file": link.target_name, "offset": link.offset, "cookie": point.cookie}
    row |= {"addr": link.address, "func": link.target_name, "offset": link.offset}
    return row | {"missed": link.missed, "cookie": point.cookie}


def _places_of_link(link: links_pb2.KernelLink) -> Row:
    """Of a kprobe_multi link with an entry for each function, of a uprobe_multi link for
    each offset in the file."""
    if link.type_name == "kprobe_multi":
        functions: list[Row] = [
            {
                "addr": each.address,
                "func": each.function,
                "module": each.module or None,
                "cookie": each.cookie,
            }
            for each in link.places
        ]
        row: Row = {"retprobe": link.point.kprobe_multi.ret, "func_cnt": link.place_count}
        return row | {"missed": link.missed, "funcs": functions}
    functions = [
        {
            "offset": each.file_offset,
            "ref_ctr_offset": each.semaphore_offset,
            "cookie": each.cookie,
        }
        for each in link.places
    ]
    point = link.point.uprobe_multi
    row = {"retprobe": point.ret, "path": point.binary, "func_cnt": link.place_count}
    return row | {"pid": point.pid, "funcs": functions}


def _tracing_point(link: links_pb2.KernelLink) -> str:
    """ "fentry:tcp_connect", "fexit:handle (of program 17)"."""
    from bpfctl.attachpoint import describe

    if link.point.HasField("freplace"):
        return describe(link.point)
    text = tracing_place(link.attach_type, link.target_name) or describe(link.point)
    return f"{text} (of program {link.target_program_id})" if link.target_program_id else text


def tracing_place(kind: int, function: str) -> str:
    """The place of a trampoline by its attach type, "fentry:tcp_connect"; empty: it is of
    no such type."""
    name = _TRAMPOLINES.get(attach_type(kind))
    return f"{name}:{function or '?'}" if name else ""


_TRAMPOLINES: dict[str | int, str] = {
    "trace_fentry": "fentry",
    "trace_fexit": "fexit",
    "modify_return": "fmod_ret",
    "trace_fsession": "fsession",
    "lsm_mac": "lsm",
    "trace_iter": "iterator",
}
_UPROBES, _TRACEPOINT, _EVENT = (1, 2), 5, 6
"""enum bpf_perf_event_type."""
_EVENT_TYPES = dict(
    enumerate(("hardware", "software", "tracepoint", "hw-cache", "raw", "breakpoint"))
)
"""enum perf_type_id, as bpftool calls them."""

_PLACES = {
    **dict.fromkeys(("xdp", "tcx", "netkit"), "ifindex"),
    "cgroup": "cgroup_id",
    "netns": "netns_inode",
}
"""What the kernel sets to 0 in a link of this type once its interface, cgroup or namespace is
gone, or somebody has detached it (BPF_LINK_DETACH)."""


def own_link_row(link: objects_pb2.Link) -> Row:
    """A link of the daemon."""
    from bpfctl.attachpoint import describe

    return {
        "name": link.name,
        "object": link.object,
        "program": link.program,
        "prog_id": link.program_id,
        "point": describe(link.point),
        "method": link.method,
        "link_ids": list(link.link_ids),
        "lifetime": lifetime(link.lifetime),
        "attached_at": seconds(link.attached_at),
    }


def object_row(message: objects_pb2.Object) -> Row:
    """An object of the daemon with its programs, maps and links."""
    row: Row = {
        "name": message.name,
        "lifetime": lifetime(message.lifetime),
        "loaded_at": seconds(message.loaded_at),
        "programs": [
            {
                "id": program.id,
                "type": program_type(program.type),
                "name": program.name,
                "section": program.section,
            }
            for program in message.programs
        ],
        "maps": [
            {
                "id": entry.id,
                "type": map_type(entry.type),
                "name": entry.name,
                "reused": entry.reused,
            }
            for entry in message.maps
        ],
        "links": [own_link_row(link) for link in message.links],
    }
    if message.session_label:
        row["session_label"] = message.session_label
    return row


def _btf_from(info: target_pb2.TargetInfo) -> str:
    """Where the types of a target's kernel come from; empty: they are not known."""
    if info.btf_sha256:
        return "kernel"
    from bpfctl.kernelbtf import shipping

    kept = shipping.known(info)
    return f"workstation ({kept.name})" if kept else ""


def target_row(info: target_pb2.TargetInfo) -> Row:
    """What a machine is; its features behind it."""
    return {
        "hostname": info.hostname,
        "operating_system": info.operating_system,
        "machine": info.machine,
        "byte_order": "big" if info.big_endian else "little",
        "pointer_bits": info.pointer_bits,
        "kernel_release": info.kernel_release,
        "kernel_version": info.kernel_version,
        "kernel_build_id": info.kernel_build_id.hex(),
        "boot_id": info.boot_id,
        "possible_cpus": info.possible_cpus,
        "online_cpus": list(info.online_cpus),
        "page_size": info.page_size,
        "lockdown": info.lockdown,
        "btf_sha256": info.btf_sha256.hex(),
        "btf_size": info.btf_size,
        "btf_from": _btf_from(info),
        "daemon_version": info.daemon_version,
        "daemon_pid": info.daemon_pid,
        "api_minor": info.api_minor,
        "libbpf_version": info.libbpf_version,
        "role": info.role,
        "capabilities": f"{info.capabilities:#x}",
        "mounts": [
            {"type": mount.type, "path": mount.path, "read_only": mount.read_only}
            for mount in info.mounts
        ],
        "features": [
            {
                "feature": feature.name,
                "supported": feature.supported,
                "since": feature.since,
                "probe": feature.probe,
                "needs": feature.needs,
            }
            for feature in info.features
        ],
    }


def lifetime(message: common_pb2.Lifetime) -> str:
    """ "pinned", "session" or "deployment NAME"; a session's id is a secret of its client."""
    kind = message.WhichOneof("kind")
    if kind == "deployment":
        return f"deployment {message.deployment}"
    return kind or ""


def seconds(time: Timestamp) -> float:
    """Seconds since 1970, to the millisecond."""
    return round(time.seconds + time.nanos / 1e9, 3)


def owners(pinned: Iterable[str], holders: Iterable[common_pb2.Holder]) -> Row:
    """ "pinned" and "pids" of what has such; a row to be put behind another."""
    row: Row = {}
    paths = list(pinned)
    if paths:
        row["pinned"] = paths
    processes = [{"pid": holder.pid, "comm": holder.comm} for holder in holders]
    if processes:
        row["pids"] = processes
    return row
