# SPDX-License-Identifier: Apache-2.0
"""What a program needs to be loaded and attached where it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import sections
from .needs import Need
from .since import attach_type_since


@dataclass(frozen=True)
class _Hook:
    feature: str
    """As `bpfctl target info` lists it."""
    fallback: str = ""
    """What the daemon does where the feature is missing; empty: nothing."""
    name: str = ""
    """Of the need; empty: the feature's."""


_TCX = _Hook("tcx link")
_CGROUP = _Hook("cgroup link")
_NETNS = _Hook("network namespace link")
_SOCKMAP = _Hook("sockmap link", "attached to the map without a link")
_UPROBE = _Hook("uprobe")
_KPROBE = _Hook("kprobe")

_HOOKS: dict[str, _Hook] = {
    "xdp": _Hook("XDP link"),
    "tc": _Hook("tcx link", "clsact", "tc"),
    "tcx": _TCX,
    "netkit": _Hook("netkit link"),
    **dict.fromkeys(("cgroup_skb", "sock_ops", "cgroup_sock", "cgroup_sock_addr"), _CGROUP),
    **dict.fromkeys(("cgroup_sockopt", "cgroup_sysctl", "cgroup_device"), _CGROUP),
    **dict.fromkeys(("sk_msg", "sk_skb"), _SOCKMAP),
    **dict.fromkeys(("sk_lookup", "flow_dissector"), _NETNS),
    "netfilter": _Hook("netfilter link"),
    "tracepoint": _Hook("perf link", "an ioctl of the perf event"),
    **dict.fromkeys(("kprobe", "kretprobe", "ksyscall", "kretsyscall"), _KPROBE),
    **dict.fromkeys(("kprobe_multi", "kretprobe_multi"), _Hook("kprobe multi link")),
    **dict.fromkeys(("uprobe", "uretprobe", "usdt"), _UPROBE),
    **dict.fromkeys(
        ("uprobe_multi", "uretprobe_multi"), _Hook("uprobe multi link", "a uprobe for each")
    ),
}
"""By the name of `--attach`; those that are not here need no more than their program type."""

_TRACED: dict[str, str] = {
    "tp_btf": "tp_btf",
    "fentry": "fentry",
    "fexit": "fexit",
    "fmod_ret": "fentry",
    "fsession": "",
    "lsm": "LSM",
    "lsm_cgroup": "LSM of cgroups",
    "iter": "iterator",
    "struct_ops": "struct_ops",
}
"""Features by section: programs that the kernel attaches by its own BTF; empty: only the dry
load tells."""

_BTF_NAMES = {
    **dict.fromkeys(("fentry", "fexit", "fmod_ret", "fsession"), ""),
    **dict.fromkeys(("lsm", "lsm_cgroup"), "bpf_lsm_"),
    "iter": "bpf_iter_",
}
"""What stands before the name of the kernel's function."""

_SESSIONS = {
    "uprobe.session": "uprobe session link",
    "uprobe.session.s": "uprobe session link",
}


def needs(
    section: str, attach: Sequence[str] | None = None, function: str = ""
) -> Iterator[Need]:
    """Of a program in this section, attached where `attach` (texts as of `--attach`) says.

    `attach` None: where its section says; the text "none": nowhere. `function`: what it is
    loaded for in place of what its section names; with a colon: a function of a program.
    """
    kind = sections.meaning(section)
    name, extras = sections.split(section)
    if function:
        extras = "" if ":" in function else function
    if kind is None:
        yield Need("program type", f'SEC("{section}")')
        return
    if kind.type in sections.FOR_A_FUNCTION:
        yield from _traced(name.removesuffix(".s"), extras)
    else:
        yield Need("program type", kind.name, ("program", (kind.type, 0, 0)))
        if words := _variant(name, kind):
            ask = ("program", (kind.type, kind.attach_type, kind.flags))
            by_attach_type = kind.type in _ATTACH_TYPE_AT_LOAD
            since = attach_type_since(kind.attach_type) if by_attach_type else ""
            yield Need("program type", f"{kind.name} ({words})", ask, since=since)
    for text in [_by_section(name, extras)] if attach is None else attach:
        if text != "none":
            yield from _attached(name, text)


_ATTACH_TYPE_AT_LOAD = (8, 9, 18, 21, 25)
"""cgroup_skb, cgroup_sock, cgroup_sock_addr, sk_reuseport, cgroup_sockopt: the kernel looks at
the attach type when it loads (bpf_prog_load_check_attach() of kernel/bpf/syscall.c), and some
of them are younger than the program type."""


def _variant(name: str, kind: sections.Section) -> str:
    """What loading needs besides the type, in words; empty: nothing."""
    words = []
    if kind.type in _ATTACH_TYPE_AT_LOAD and kind.attach_type:
        words.append(name)
    if kind.flags & sections.XDP_FRAGS:
        words.append("fragments")
    if kind.flags & sections.SLEEPABLE and name != "syscall":
        words.append("sleepable")
    return ", ".join(words)


def _traced(name: str, extras: str) -> Iterator[Need]:
    from bpfctl.btf.kinds import Kind

    feature = _TRACED.get(name)
    if feature is None:
        yield Need("program type", name)
        return
    yield Need("hook", name, ("feature", feature) if feature else None)
    yield Need("kernel BTF", "kernel BTF", ("feature", "kernel BTF"))
    if not extras:
        return
    if name == "tp_btf":
        ask = ("btf", (f"btf_trace_{extras}", Kind.TYPEDEF))
        yield Need("tracepoint", extras, ask)
    elif name in _BTF_NAMES:
        function = f"{_BTF_NAMES[name]}{extras}"
        ask = ("btf", (function, Kind.FUNC))
        yield Need("traced function", function, ask)


def _attached(name: str, text: str) -> Iterator[Need]:
    kind = text.partition(":")[0].partition(",")[0]
    hook = _HOOKS.get(kind)
    if hook is not None:
        feature = _SESSIONS.get(name, hook.feature)
        ask = ("feature", feature)
        name = hook.name or feature
        yield Need("hook", name, ask, at_attach=True, fallback=hook.fallback)
    subject = text.partition(":")[2].partition(",")[0]
    if kind == "cgroup_sock_addr" and "_unix" in text:
        yield Need(
            "hook", "cgroup Unix sockets", ("feature", "cgroup Unix sockets"), at_attach=True
        )
    if subject and "{" not in subject:
        yield from _subject(kind, subject)


def _by_section(name: str, extras: str) -> str:
    from bpfctl import attachpoint

    section = f"{name}/{extras}" if extras else name
    try:
        suggestion = attachpoint.from_section(section)
    except attachpoint.InvalidAttachPoint:
        return ""
    return attachpoint.describe(suggestion.point) if suggestion.point is not None else ""


def _subject(kind: str, subject: str) -> Iterator[Need]:
    match kind:
        case "kprobe" | "kretprobe":
            name = subject.partition("+")[0]
            yield Need("function", name, ("function", name), at_attach=True)
        case "kprobe_multi" | "kretprobe_multi":
            yield Need("function", subject, ("function", subject), at_attach=True)
        case "ksyscall" | "kretsyscall":
            yield Need("system call", subject, ("syscall", subject), at_attach=True)
        case "tracepoint" | "tp":
            yield Need("tracepoint", subject, ("tracepoint", subject), at_attach=True)
        case "raw_tracepoint" | "raw_tp":
            yield Need("tracepoint", subject, ("raw_tracepoint", subject), at_attach=True)
