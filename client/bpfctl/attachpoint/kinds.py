# SPDX-License-Identifier: Apache-2.0
"""The kinds of attach points: one line for each name that `--attach` knows.

A new hook is one message in `protos/bpfd/v1/attach.proto` and one entry here.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import subjects as subject
from .options import (
    Choice,
    Flag,
    Number,
    Numbers,
    Option,
    Options,
    Order,
    Refers,
    Socket,
    Text,
    Unless,
    Word,
)
from .references import CGROUP, INTERFACE, MAP, NETNS, PROGRAM
from .subjects import Subject

_XDP_MODES = {"native": 1, "generic": 2, "offload": 3}
_XDP_ACTIONS = {"aborted": 0, "drop": 1, "pass": 2, "tx": 3, "redirect": 4}
_DIRECTIONS = {"ingress": 1, "egress": 2}
_SOCK_HOOKS = {"create": 1, "release": 2, "post_bind4": 3, "post_bind6": 4}
_SOCK_ADDR_HOOKS = {
    name: number
    for number, name in enumerate(
        (
            *("bind4", "bind6", "connect4", "connect6", "connect_unix"),
            *("sendmsg4", "sendmsg6", "sendmsg_unix", "recvmsg4", "recvmsg6", "recvmsg_unix"),
            *("getpeername4", "getpeername6", "getpeername_unix"),
            *("getsockname4", "getsockname6", "getsockname_unix"),
        ),
        1,
    )
}
_SK_SKB_HOOKS = {"stream_parser": 1, "stream_verdict": 2, "verdict": 3}
_FAMILIES = {"ipv4": 2, "ipv6": 10}
_NETFILTER_HOOKS = {
    "pre_routing": 0,
    "local_in": 1,
    "forward": 2,
    "local_out": 3,
    "post_routing": 4,
}


@dataclass(frozen=True)
class Kind:
    """One name of `--attach`."""

    name: str
    """As it is written; `aliases` are read too."""
    field: str
    """Member of the oneof in AttachPoint."""
    subject: Subject
    options: Options
    preset: tuple[tuple[str, int | bool], ...] = ()
    """Fields that the name itself says."""
    aliases: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """How it is written, without options: "xdp:INTERFACE"."""
        if not self.subject.hint:
            return self.name
        hint = f":{self.subject.hint}"
        return f"{self.name}[{hint}]" if self.subject.optional else f"{self.name}{hint}"


def _kind(
    name: str,
    field: str,
    where: Subject,
    *options: Option,
    preset: tuple[tuple[str, int | bool], ...] = (),
    aliases: tuple[str, ...] = (),
) -> Kind:
    return Kind(name, field, where, Options(options), preset, aliases)


_NOTHING = Subject()
_FIXED = subject.Fixed()
_INTERFACE = subject.Refers("interface", INTERFACE)
_INTERFACE_NETNS = Refers("netns", NETNS, "interface.netns")
_CGROUP = subject.Refers("cgroup", CGROUP)
_MAP = subject.Refers("map", MAP)
_COOKIE = Number("cookie")
_RET = (("ret", True),)
_TC = (
    *(Word("direction", _DIRECTIONS), Order(), Number("priority"), Number("handle")),
    _INTERFACE_NETNS,
)
_UPROBE = (Number("pid"), _COOKIE, Number("semaphore", "semaphore_offset"))
_KPROBE_MULTI = (Unless("pattern", subject.is_glob), Numbers("cookies"), Flag("session"))
_UPROBE_MULTI = (*_KPROBE_MULTI, Numbers("semaphore_offsets"), Number("pid"))

KINDS = (
    _kind(
        *("xdp", "xdp", _INTERFACE),
        *(Choice("mode", _XDP_MODES), Number("priority"), Numbers("proceed_on", _XDP_ACTIONS)),
        _INTERFACE_NETNS,
    ),
    _kind("tcx", "tc", _INTERFACE, *_TC, preset=(("method", 1),)),
    _kind("clsact", "tc", _INTERFACE, *_TC, preset=(("method", 2),)),
    _kind("tc", "tc", _INTERFACE, *_TC),
    _kind("netkit", "netkit", _INTERFACE, Flag("peer"), Order(), _INTERFACE_NETNS),
    _kind("cgroup_skb", "cgroup_skb", _CGROUP, Word("direction", _DIRECTIONS), Order()),
    _kind("sock_ops", "sock_ops", _CGROUP, Order(), aliases=("sockops",)),
    _kind("cgroup_sock", "cgroup_sock", _CGROUP, Word("hook", _SOCK_HOOKS), Order()),
    _kind(
        *("cgroup_sock_addr", "cgroup_sock_addr", _CGROUP),
        *(Word("hook", _SOCK_ADDR_HOOKS), Order()),
    ),
    _kind(
        *("cgroup_sockopt", "cgroup_sockopt", _CGROUP),
        *(Word("set", {"get": False, "set": True}), Order()),
    ),
    _kind("cgroup_sysctl", "cgroup_sysctl", _CGROUP, Order()),
    _kind("cgroup_device", "cgroup_device", _CGROUP, Order()),
    _kind("sk_msg", "sk_msg", _MAP),
    _kind("sk_skb", "sk_skb", _MAP, Word("hook", _SK_SKB_HOOKS)),
    _kind("sk_lookup", "sk_lookup", _NOTHING, Refers("netns", NETNS)),
    _kind("sk_reuseport", "sk_reuseport", _NOTHING, Socket("socket"), Flag("migrate")),
    _kind(
        *("socket_filter", "socket_filter", subject.Refers("raw", INTERFACE, optional=True)),
        *(Socket("process_socket"), Refers("netns", NETNS, "raw.netns")),
        aliases=("socket",),
    ),
    _kind("flow_dissector", "flow_dissector", _NOTHING, Refers("netns", NETNS)),
    _kind(
        *("netfilter", "netfilter", _NOTHING, Word("family", _FAMILIES, "protocol_family")),
        *(Word("hook", _NETFILTER_HOOKS), Number("priority"), Flag("defragment")),
        Refers("netns", NETNS),
    ),
    _kind("lwt", "lwt", _INTERFACE, Text("prefix"), Number("headroom"), _INTERFACE_NETNS),
    _kind("tracepoint", "tracepoint", subject.Tracepoint(), _COOKIE, aliases=("tp",)),
    _kind(
        "raw_tracepoint", "raw_tracepoint", subject.Text("name"), _COOKIE, aliases=("raw_tp",)
    ),
    _kind("tp_btf", "tp_btf", _FIXED, _COOKIE),
    _kind("kretprobe", "kprobe", subject.Function("address", False), _COOKIE, preset=_RET),
    _kind("kprobe", "kprobe", subject.Function("address", False), _COOKIE),
    _kind(
        *("kretprobe_multi", "kprobe_multi", subject.Functions("addresses", False)),
        *_KPROBE_MULTI,
        preset=_RET,
    ),
    _kind(
        *("kprobe_multi", "kprobe_multi", subject.Functions("addresses", False)),
        *_KPROBE_MULTI,
    ),
    _kind("kretsyscall", "ksyscall", subject.Text("syscall"), _COOKIE, preset=_RET),
    _kind("ksyscall", "ksyscall", subject.Text("syscall"), _COOKIE),
    _kind("uretprobe", "uprobe", subject.Function("file_offset", True), *_UPROBE, preset=_RET),
    _kind("uprobe", "uprobe", subject.Function("file_offset", True), *_UPROBE),
    _kind(
        *("uretprobe_multi", "uprobe_multi", subject.Functions("file_offsets", True)),
        *_UPROBE_MULTI,
        preset=_RET,
    ),
    _kind(
        *("uprobe_multi", "uprobe_multi", subject.Functions("file_offsets", True)),
        *_UPROBE_MULTI,
    ),
    _kind("usdt", "usdt", subject.Usdt(), Number("pid"), _COOKIE),
    _kind(
        *("tracing", "tracing", _FIXED, _COOKIE),
        aliases=("fentry", "fexit", "fmod_ret", "fsession"),
    ),
    _kind("lsm", "lsm", _FIXED, _COOKIE),
    _kind("lsm_cgroup", "lsm_cgroup", _CGROUP),
    _kind(
        *("iterator", "iterator", _FIXED, Refers("map", MAP), Refers("cgroup", CGROUP)),
        *(Number("tid"), Number("pid"), Number("cgroup_order")),
        aliases=("iter",),
    ),
    _kind(
        *("perf_event", "perf_event", subject.PerfEvent(), Number("frequency")),
        *(Number("period"), Number("pid"), Numbers("cpus"), Refers("cgroup", CGROUP), _COOKIE),
    ),
    _kind("struct_ops", "struct_ops", _MAP),
    _kind("freplace", "freplace", subject.Refers("target", PROGRAM), Text("function")),
)
"""More specific names of a message before its plain one."""

BY_NAME = {name: kind for kind in KINDS for name in (kind.name, *kind.aliases)}
