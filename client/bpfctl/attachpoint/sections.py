# SPDX-License-Identifier: Apache-2.0
"""Section names of programs, as libbpf 1.7 knows them, and the attach points they mean.

Source: kernel Documentation/bpf/libbpf/program_types.rst and the table `section_defs` of
libbpf, whose form of `SEC("...")` extras is followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .text import InvalidAttachPoint, escape, near

if TYPE_CHECKING:
    from bpfd.v1 import attach_pb2

Need = Literal["interface", "cgroup", "map", "netns"]


@dataclass(frozen=True)
class Suggestion:
    """Where a program goes by its section."""

    section: str
    point: attach_pb2.AttachPoint | None
    """Complete unless `needs` is set; None: the section does not say where."""
    needs: Need | None
    """What `attachpoint.complete` must be given."""
    why: str
    """In words, for when it is not attached: what to write; else empty."""
    enabled: bool
    """False for sections with "?": not loaded unless asked for."""


@dataclass(frozen=True)
class _Rule:
    build: Callable[[str], str | None]
    """From the extras behind the slash to the text of `--attach`; None: they do not say."""
    needs: Need | None = None
    why: str = ""
    extras: bool = False
    """Extras may follow ("kprobe/do_unlinkat")."""


def _fixed(point: str, needs: Need | None = None, why: str = "") -> _Rule:
    return _Rule(lambda _: point, needs, why)


def _never(why: str, extras: bool = False) -> _Rule:
    return _Rule(lambda _: None, None, why, extras)


def _traced(point: str, form: str) -> _Rule:
    """The target is fixed when the program is loaded, by the section or by `form`."""
    why = f"the section does not say of what; add --attach {form}"
    return _Rule(lambda extras: point if extras else None, None, why, extras=True)


def _from(build: Callable[[str], str | None], form: str) -> _Rule:
    return _Rule(build, None, f"the section does not say where; add --attach {form}", True)


def _function(kind: str) -> Callable[[str], str | None]:
    def build(extras: str) -> str | None:
        match = re.fullmatch(r"([A-Za-z0-9_.$]+)(?:\+(0x[0-9a-fA-F]+|[0-9]+))?", extras)
        if not match:
            return None
        return f"{kind}:{match[1]}" + (f"+{match[2]}" if match[2] else "")

    return build


def _pattern(kind: str) -> Callable[[str], str | None]:
    return lambda extras: (
        f"{kind}:{extras}" if re.fullmatch(r"[A-Za-z0-9_.*?]+", extras) else None
    )


def _binary(kind: str) -> Callable[[str], str | None]:
    def build(extras: str) -> str | None:
        match = re.fullmatch(
            r"(.+?):([A-Za-z0-9_.@$*?]+)(?:\+(0x[0-9a-fA-F]+|[0-9]+))?", extras
        )
        if not match:
            return None
        offset = f"+{match[3]}" if match[3] else ""
        return f"{kind}:{escape(match[1], ':')}:{match[2]}{offset}"

    return build


def _usdt(extras: str) -> str | None:
    parts = extras.split(":")
    if len(parts) != 3 or not all(parts):
        return None
    return "usdt:" + ":".join(escape(part) for part in parts)


def _tracepoint(extras: str) -> str | None:
    category, slash, name = extras.partition("/")
    return (
        f"tracepoint:{escape(category)}/{escape(name)}" if slash and name and category else None
    )


def _raw_tracepoint(extras: str) -> str | None:
    return f"raw_tracepoint:{escape(extras)}" if extras else None


_TP = _from(_tracepoint, "tracepoint:CATEGORY/NAME")
_RAW_TP = _from(_raw_tracepoint, "raw_tracepoint:NAME")
_UPROBE = _from(_binary("uprobe"), "uprobe:BINARY:FUNCTION")
_URETPROBE = _from(_binary("uretprobe"), "uretprobe:BINARY:FUNCTION")
_UPROBE_MULTI = _from(_binary("uprobe_multi"), "uprobe_multi:BINARY:PATTERN")
_URETPROBE_MULTI = _from(_binary("uretprobe_multi"), "uretprobe_multi:BINARY:PATTERN")
_USDT = _from(_usdt, "usdt:BINARY:PROVIDER:NAME")
_CALLED = "it runs behind a redirect: put it into a devmap or cpumap"
_DIRECTION = "add ,ingress or ,egress"
_XDP = _fixed("xdp", "interface")
_TC = _fixed("tc", "interface", _DIRECTION)
_FENTRY = _traced("tracing", "fentry:FUNCTION")
_FEXIT = _traced("tracing", "fexit:FUNCTION")
_FMOD_RET = _traced("tracing", "fmod_ret:FUNCTION")
_FSESSION = _traced("tracing", "fsession:FUNCTION")
_LSM = _traced("lsm", "lsm:HOOK")
_UPROBE_SESSION = _from(
    lambda extras: (point := _binary("uprobe_multi")(extras)) and f"{point},session",
    "uprobe_multi:BINARY:PATTERN,session",
)
_OVER_MAPS = ("bpf_map_elem", "bpf_sk_storage_map", "sockmap")
"""Iterators over the entries of one map (bpf_iter_attach_map in kernel/bpf/map_iter.c, the
others in net/core/)."""
_ITERATOR = _Rule(
    lambda extras: "iterator" if extras and extras not in (*_OVER_MAPS, "cgroup") else None,
    None,
    "this iterator walks a map: add --attach iterator,map=MAP",
    True,
)
_ITERATOR_OF = "the section does not say over what; add --attach iterator:task or the like"
_ITERATOR_OF_CGROUPS = "this iterator walks cgroups: add --attach iterator,cgroup=CGROUP"
_STRUCT_OPS = _never("it is part of a struct_ops map; attach that: struct_ops:MAP", True)
_LWT = "routes call it: add --attach lwt:INTERFACE,prefix=PREFIX"

_RULES: dict[str, _Rule] = {
    "socket": _fixed("socket_filter", "interface"),
    "sk_reuseport": _never("add --attach sk_reuseport,pid=PID,fd=FD"),
    "sk_reuseport/migrate": _never("add --attach sk_reuseport,pid=PID,fd=FD,migrate"),
    "kprobe": _from(_function("kprobe"), "kprobe:FUNCTION"),
    "kretprobe": _from(_function("kretprobe"), "kretprobe:FUNCTION"),
    "kprobe.multi": _from(_pattern("kprobe_multi"), "kprobe_multi:PATTERN"),
    "kretprobe.multi": _from(_pattern("kretprobe_multi"), "kretprobe_multi:PATTERN"),
    "kprobe.session": _from(
        lambda extras: (point := _pattern("kprobe_multi")(extras)) and f"{point},session",
        "kprobe_multi:PATTERN,session",
    ),
    "ksyscall": _from(_function("ksyscall"), "ksyscall:NAME"),
    "kretsyscall": _from(_function("kretsyscall"), "kretsyscall:NAME"),
    "uprobe": _UPROBE,
    "uprobe.s": _UPROBE,
    "uretprobe": _URETPROBE,
    "uretprobe.s": _URETPROBE,
    "uprobe.multi": _UPROBE_MULTI,
    "uprobe.multi.s": _UPROBE_MULTI,
    "uretprobe.multi": _URETPROBE_MULTI,
    "uretprobe.multi.s": _URETPROBE_MULTI,
    "uprobe.session": _UPROBE_SESSION,
    "uprobe.session.s": _UPROBE_SESSION,
    "usdt": _USDT,
    "usdt.s": _USDT,
    "tc/ingress": _fixed("tc,ingress", "interface"),
    "tc/egress": _fixed("tc,egress", "interface"),
    "tcx/ingress": _fixed("tcx,ingress", "interface"),
    "tcx/egress": _fixed("tcx,egress", "interface"),
    "tc": _TC,
    "classifier": _TC,
    "action": _never('tc actions are not attached alone: use SEC("tc")'),
    "netkit/primary": _fixed("netkit", "interface"),
    "netkit/peer": _fixed("netkit,peer", "interface"),
    "tracepoint": _TP,
    "tp": _TP,
    "raw_tracepoint": _RAW_TP,
    "raw_tp": _RAW_TP,
    "raw_tracepoint.w": _RAW_TP,
    "raw_tp.w": _RAW_TP,
    "tp_btf": _traced("tp_btf", "tp_btf:NAME"),
    "fentry": _FENTRY,
    "fentry.s": _FENTRY,
    "fexit": _FEXIT,
    "fexit.s": _FEXIT,
    "fmod_ret": _FMOD_RET,
    "fmod_ret.s": _FMOD_RET,
    "fsession": _FSESSION,
    "fsession.s": _FSESSION,
    "freplace": _never(
        "it replaces a function: add --attach freplace:PROGRAM,function=NAME", True
    ),
    "lsm": _LSM,
    "lsm.s": _LSM,
    "lsm_cgroup": _Rule(lambda _: "lsm_cgroup", "cgroup", extras=True),
    "iter": _ITERATOR,
    "iter.s": _ITERATOR,
    "syscall": _never("it is run on request, with a test run"),
    "xdp": _XDP,
    "xdp.frags": _XDP,
    "xdp/devmap": _never(_CALLED),
    "xdp.frags/devmap": _never(_CALLED),
    "xdp/cpumap": _never(_CALLED),
    "xdp.frags/cpumap": _never(_CALLED),
    "perf_event": _never("add --attach perf_event:cpu-clock,frequency=99"),
    "lwt_in": _never(_LWT),
    "lwt_out": _never(_LWT),
    "lwt_xmit": _never(_LWT),
    "lwt_seg6local": _never("the route's seg6local action calls it"),
    "sockops": _fixed("sock_ops", "cgroup"),
    "sk_skb": _fixed("sk_skb", "map", "add ,stream_parser or ,stream_verdict or ,verdict"),
    "sk_skb/stream_parser": _fixed("sk_skb,stream_parser", "map"),
    "sk_skb/stream_verdict": _fixed("sk_skb,stream_verdict", "map"),
    "sk_skb/verdict": _fixed("sk_skb,verdict", "map"),
    "sk_msg": _fixed("sk_msg", "map"),
    "lirc_mode2": _never("infrared receivers are not attached to yet"),
    "flow_dissector": _fixed("flow_dissector", "netns"),
    "sk_lookup": _fixed("sk_lookup", "netns"),
    "netfilter": _never("add --attach netfilter,ipv4,local_in,priority=NUMBER"),
    "cgroup_skb/ingress": _fixed("cgroup_skb,ingress", "cgroup"),
    "cgroup_skb/egress": _fixed("cgroup_skb,egress", "cgroup"),
    "cgroup/skb": _fixed("cgroup_skb", "cgroup", _DIRECTION),
    "cgroup/sock": _fixed("cgroup_sock,create", "cgroup"),
    "cgroup/sock_create": _fixed("cgroup_sock,create", "cgroup"),
    "cgroup/sock_release": _fixed("cgroup_sock,release", "cgroup"),
    "cgroup/post_bind4": _fixed("cgroup_sock,post_bind4", "cgroup"),
    "cgroup/post_bind6": _fixed("cgroup_sock,post_bind6", "cgroup"),
    "cgroup/sysctl": _fixed("cgroup_sysctl", "cgroup"),
    "cgroup/getsockopt": _fixed("cgroup_sockopt,get", "cgroup"),
    "cgroup/setsockopt": _fixed("cgroup_sockopt,set", "cgroup"),
    "cgroup/dev": _fixed("cgroup_device", "cgroup"),
    "struct_ops": _STRUCT_OPS,
    "struct_ops.s": _STRUCT_OPS,
} | {
    f"cgroup/{call}{suffix}": _fixed(f"cgroup_sock_addr,{call}{suffix}", "cgroup")
    for call in ("bind", "connect", "sendmsg", "recvmsg", "getpeername", "getsockname")
    for suffix in ("4", "6", "_unix")
    if (call, suffix) != ("bind", "_unix")
}


def names() -> list[str]:
    """Every section name that is known, without extras."""
    return sorted(_RULES)


def suggest(section: str) -> Suggestion:
    """See `bpfctl.attachpoint.from_section`."""
    name = section.removeprefix("?")
    rule, extras = _RULES.get(name), ""
    if rule is None:
        head, _, extras = name.partition("/")
        rule = _RULES.get(head)
        if rule is None or not rule.extras or not extras:
            raise InvalidAttachPoint(_unknown(section, head, rule))
    text = rule.build(extras)
    point = None if text is None else _partial(text)
    why = rule.why if point is None or rule.needs else ""
    if rule is _ITERATOR and why and extras not in _OVER_MAPS:
        why = _ITERATOR_OF_CGROUPS if extras else _ITERATOR_OF
    if rule.needs:
        form = text if text is not None else ""
        why = f"it needs {_article(rule.needs)}{f'; {why}' if why else ''} ({form})"
    return Suggestion(
        section, point, rule.needs if point is not None else None, why, name == section
    )


def _unknown(section: str, head: str, rule: _Rule | None) -> str:
    if rule is not None:
        return f"section {section!r}: nothing may follow {head!r}{near(section, _RULES)}"
    close = near(section, _RULES) or near(head, _RULES)
    return f"section {section!r} is no section of a program{close or ''}" + (
        "" if close else '; write SEC("xdp"), SEC("tp/sched/sched_switch") or the like'
    )


def _article(need: Need) -> str:
    return f"an {need}" if need[0] in "aeio" else f"a {need}"


def _partial(text: str) -> attach_pb2.AttachPoint:
    """`parse` for a text that may lack its subject."""
    from bpfd.v1 import attach_pb2

    from . import parse
    from .kinds import BY_NAME

    head, *tokens = text.split(",")
    kind = BY_NAME.get(head)
    if kind is None or not kind.subject.hint:
        return parse(text)
    point = attach_pb2.AttachPoint()
    message = getattr(point, kind.field)
    message.SetInParent()
    for key, value in kind.preset:
        setattr(message, key, value)
    for token in tokens:
        kind.options.read(message, token, set())
    return point
