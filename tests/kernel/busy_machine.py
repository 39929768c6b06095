# SPDX-License-Identifier: Apache-2.0
"""A machine with as many kinds of attachments at work as its kernel offers.

Nothing of it is the daemon's: programs are attached by links of this process, by ip(8), tc(8)
and bpftool(8), in namespaces, control groups and on interfaces of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bpfd import errors
from bpfd.kernel import elf_object, interface, netns, perf_event, syscall, tracefs
from bpfd.kernel.attributes import Attach
from bpfd.kernel.constants import AttachType, Cmd, MapType
from bpfd.kernel.load_options import Loaded, LoadOptions
from bpfd.kernel.symbols import ElfFile
from tests.kernel import busy_functions, clang, hooks_support
from tests.kernel.hooks_support import Pair

_SET_BPF, _ENABLE = 0x40042408, 0x2400
_LIBRARY = "libc.so.6"
_FUNCTIONS = ("sched_get_priority_max", "sched_get_priority_min")


@dataclass
class Busy:
    """What was made; `done` are the kinds that this kernel has."""

    pair: Pair
    cgroup: str
    inner: str
    folder: str
    """Pins."""
    loaded: dict[str, Loaded] = field(default_factory=dict)
    links: dict[str, int] = field(default_factory=dict)
    """Fds of links by what they are."""
    done: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    sampler: tuple[int, int] = (0, 0)
    """(pid, fd) of a perf event with a program on its samples, without a link."""

    def fd(self, source: str, name: str) -> int:
        """A program's fd."""
        return self.loaded[source].programs[name].fd

    def id(self, source: str, name: str) -> int:
        """A program's kernel id."""
        return self.loaded[source].programs[name].id

    def program_ids(self) -> set[int]:
        """Ids of all programs."""
        return {each.id for item in self.loaded.values() for each in item.programs.values()}

    def link(self, what: str, fd: int) -> int:
        """Keeps a link."""
        self.links[what] = fd
        return fd

    def by_ioctl(self, what: str, event: int, program: int) -> None:
        """Puts a program on a perf event as was done before there were links, and keeps it."""
        self.link(what, event)
        fcntl.ioctl(event, _SET_BPF, program)
        fcntl.ioctl(event, _ENABLE, 0)

    @property
    def places(self) -> tuple[str, int, int]:
        """A file, and where two functions are in it."""
        path, first = place_of(_FUNCTIONS[0])
        return path, first, place_of(_FUNCTIONS[1])[1]


def inode(name: str) -> int:
    """Of a named network namespace."""
    return os.stat(f"/run/netns/{name}").st_ino


@contextmanager
def busy_machine() -> Iterator[Busy]:
    """Makes it, and takes it away."""
    with ExitStack() as undo:
        pair = undo.enter_context(hooks_support.veth_pair())
        group = undo.enter_context(hooks_support.own_cgroup())
        os.mkdir(f"{group}/inner")
        undo.callback(os.rmdir, f"{group}/inner")
        folder = f"/sys/fs/bpf/busy-{os.getpid()}-{os.urandom(2).hex()}"
        os.mkdir(folder)
        undo.callback(_empty, folder)
        busy = Busy(pair, group, f"{group}/inner", folder)
        undo.callback(_close, busy)
        busy.loaded["hooks"] = elf_object.load("hooks", hooks_support.compiled(), LoadOptions())
        for step in _STEPS:
            name = step.__name__.removeprefix("_")
            try:
                step(busy, undo)
            except (OSError, errors.BpfdError, subprocess.CalledProcessError) as error:
                detail = getattr(error, "stderr", None) or error
                busy.missing[name] = str(detail).strip()
            else:
                busy.done.append(name)
        yield busy


def _empty(folder: str) -> None:
    for name in os.listdir(folder):
        os.unlink(f"{folder}/{name}")
    os.rmdir(folder)


def _close(busy: Busy) -> None:
    for fd in reversed(busy.links.values()):
        os.close(fd)
    for loaded in reversed(busy.loaded.values()):
        loaded.close()


def _load(busy: Busy, name: str, *defines: str) -> Loaded:
    busy.loaded[name] = elf_object.load(name, clang.compiled(name, *defines), LoadOptions())
    return busy.loaded[name]


def _pinned(busy: Busy, name: str) -> str:
    path = f"{busy.folder}/{name}"
    if not os.path.exists(path):
        syscall.obj_pin(busy.fd("hooks", name), path)
    return path


def run_in(namespace: str, *words: str) -> str:
    """A command in a named network namespace, with bpffs in sight."""
    command = ["nsenter", f"--net=/run/netns/{namespace}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _near(busy: Busy) -> contextlib.AbstractContextManager[int]:
    return netns.entered(f"/run/netns/{busy.pair.near}")


def _xdp_link(busy: Busy, undo: ExitStack) -> None:
    with _near(busy):
        index = interface.index_of("hk0")
        fd = syscall.link_create(busy.fd("hooks", "xdp_count"), index, AttachType.XDP)
    busy.link("xdp", fd)


def _xdp_netlink(busy: Busy, undo: ExitStack) -> None:
    pin = _pinned(busy, "xdp_drop")
    run_in(busy.pair.near, "ip", "link", "set", "dev", "lo", "xdpgeneric", "pinned", pin)
    run_in(busy.pair.far, "ip", "link", "set", "dev", "hk1", "xdpdrv", "pinned", pin)


def _clsact(busy: Busy, undo: ExitStack) -> None:
    tc = functools.partial(run_in, busy.pair.near, "tc")
    tc("qdisc", "add", "dev", "hk0", "clsact")
    for prio, name in ((7, "tc_count"), (5, "tc_drop")):
        bpf = ("bpf", "direct-action", "pinned", _pinned(busy, name))
        tc(*("filter", "add", "dev", "hk0", "ingress", "prio", str(prio), "handle", "3"), *bpf)
    words = ("filter", "add", "dev", "hk0", "egress", "protocol", "ip", "prio", "2")
    tc(*words, "bpf", "pinned", _pinned(busy, "tc_count"), "classid", "1:1")


def _tc_block(busy: Busy, undo: ExitStack) -> None:
    tc = functools.partial(run_in, busy.pair.far, "tc")
    tc("qdisc", "add", "dev", "hk1", "ingress_block", "7", "clsact")
    bpf = ("bpf", "direct-action", "pinned", _pinned(busy, "tc_count"))
    tc("filter", "add", "block", "7", "prio", "9", *bpf)


def _tc_class(busy: Busy, undo: ExitStack) -> None:
    tc = functools.partial(run_in, busy.pair.far, "tc")
    tc("qdisc", "add", "dev", "hk1", "root", "handle", "1:", "htb")
    tc("class", "add", "dev", "hk1", "parent", "1:", "classid", "1:1", "htb", "rate", "1gbit")
    bpf = ("bpf", "pinned", _pinned(busy, "tc_count"), "classid", "1:1")
    tc("filter", "add", "dev", "hk1", "parent", "1:", "prio", "4", *bpf)


def _tcx(busy: Busy, undo: ExitStack) -> None:
    first, second = busy.fd("hooks", "tc_count"), busy.fd("hooks", "tc_drop")
    with _near(busy):
        index = interface.index_of("hk0")
        ingress = AttachType.TCX_INGRESS
        busy.link("tcx second", syscall.link_create(first, index, ingress))
        before = 1 << 3  # BPF_F_BEFORE
        busy.link("tcx first", syscall.link_create(second, index, ingress, before))
        # Without a link, and gone with the interface.
        egress = Attach(index, first, AttachType.TCX_EGRESS, 0, 0)
        syscall.bpf(Cmd.PROG_ATTACH, egress)


def _cgroup_link(busy: Busy, undo: ExitStack) -> None:
    _load(busy, "cgroup_hooks")
    group = os.open(busy.inner, os.O_RDONLY | os.O_DIRECTORY)
    undo.callback(os.close, group)
    loaded = busy.loaded["cgroup_hooks"].programs
    for name, each in loaded.items():
        if name.endswith("_never"):
            continue
        fd = syscall.link_create(each.fd, group, each.expected_attach_type)
        busy.link(f"cgroup {name}", fd)
    skb = busy.fd("hooks", "cgroup_count"), AttachType.CGROUP_INET_EGRESS
    busy.link("cgroup egress", syscall.link_create(skb[0], group, skb[1]))


def _cgroup_attach(busy: Busy, undo: ExitStack) -> None:
    for program in ("cgroup_count", "cgroup_drop"):
        _attach_legacy(busy, undo, "cgroup_inet_egress", program, "multi")
    _attach_legacy(busy, undo, "cgroup_sock_ops", "sock_ops_count", "override")


def _attach_legacy(busy: Busy, undo: ExitStack, hook: str, program: str, flag: str) -> None:
    where = (busy.cgroup, hook, "pinned", _pinned(busy, program))
    words = ["bpftool", "cgroup", "attach", *where, flag]
    subprocess.run(words, check=True, capture_output=True, text=True)
    words = ["bpftool", "cgroup", "detach", *where]
    undo.callback(subprocess.run, words, check=False, capture_output=True)


def _raw_tracepoint(busy: Busy, undo: ExitStack) -> None:
    fd = busy.fd("hooks", "raw_tracepoint")
    busy.link("raw_tracepoint", syscall.raw_tracepoint_open("sys_enter", fd))


def _tp_btf(busy: Busy, undo: ExitStack) -> None:
    fd = busy.fd("hooks", "tp_btf")
    busy.link("tp_btf", syscall.raw_tracepoint_open(None, fd))


def _event_id() -> int:
    return tracefs.event_id("syscalls", "sys_enter_getpriority")


def _tracepoint_link(busy: Busy, undo: ExitStack) -> None:
    event = perf_event.open_tracepoint(_event_id())
    fd, is_link = perf_event.attach(event, busy.fd("hooks", "tracepoint"))
    busy.link("tracepoint", fd)
    if not is_link:
        raise errors.NotSupported("links of perf events", "5.15")


def _tracepoint_event(busy: Busy, undo: ExitStack) -> None:
    event = perf_event.open_tracepoint(_event_id())
    busy.by_ioctl("tracepoint event", event, busy.fd("hooks", "tracepoint_other"))


@functools.cache
def place_of(function: str) -> tuple[str, int]:
    """(file, offset) of a function of the C library."""
    path = os.path.realpath(_c_library())
    with ElfFile(path) as file:
        return path, file.functions(function)[0].file_offset


def _c_library() -> str:
    with open("/proc/self/maps") as file:
        return next(line.split()[5] for line in file if line.rstrip().endswith(_LIBRARY))


def _uprobe_link(busy: Busy, undo: ExitStack) -> None:
    path, offset = place_of(_FUNCTIONS[0])
    event = perf_event.open_uprobe(path, offset, ret=False, pid=-1, semaphore_offset=0)
    busy.link("uprobe event", os.dup(event))  # as libbpf keeps it
    fd, _ = perf_event.attach(event, busy.fd("hooks", "probe_entry"))
    busy.link("uprobe", fd)


def _uretprobe_event(busy: Busy, undo: ExitStack) -> None:
    path, offset = place_of(_FUNCTIONS[1])
    event = perf_event.open_uprobe(path, offset, ret=True, pid=-1, semaphore_offset=0)
    busy.by_ioctl("uretprobe event", event, busy.fd("hooks", "probe_return"))


def _samples(busy: Busy, undo: ExitStack) -> None:
    event = perf_event.open_sampler(1, 0, cpu=0, frequency=10)
    fd, _ = perf_event.attach(event, busy.fd("hooks", "sample"))
    busy.link("samples", fd)


def _samples_event(busy: Busy, undo: ExitStack) -> None:
    """In a process of its own: where a process has such links, too, it cannot be told."""
    event = perf_event.open_sampler(1, 1, cpu=0, frequency=10)
    fcntl.ioctl(event, _SET_BPF, busy.fd("hooks", "sample_other"))
    process = subprocess.Popen(["sleep", "300"], pass_fds=[event])
    os.close(event)
    undo.callback(process.wait)
    undo.callback(process.kill)
    busy.sampler = (process.pid, event)


def _sockmap(busy: Busy, undo: ExitStack) -> None:
    loaded = _load(busy, "sockmap")
    programs = {each.expected_attach_type: each for each in loaded.programs.values()}
    target = loaded.maps["sockets"].fd
    for hook in (AttachType.SK_SKB_STREAM_PARSER, AttachType.SK_SKB_STREAM_VERDICT):
        syscall.prog_attach(target, programs[hook].fd, hook)
    fd = programs[AttachType.SK_MSG_VERDICT].fd
    hashed = loaded.maps["hashed"].fd
    syscall.prog_attach(hashed, fd, AttachType.SK_MSG_VERDICT)


def _sockmap_link(busy: Busy, undo: ExitStack) -> None:
    loaded = busy.loaded["sockmap"]
    kind = AttachType.SK_MSG_VERDICT
    program = next(
        each for each in loaded.programs.values() if each.expected_attach_type == kind
    )
    target = loaded.maps["sockets"].fd
    busy.link("sockmap", syscall.link_create(program.fd, target, kind))


def _netns_links(busy: Busy, undo: ExitStack) -> None:
    loaded = _load(busy, "netns_hooks")
    target = netns.open_namespace(f"/run/netns/{busy.pair.near}")
    undo.callback(os.close, target)
    for name, each in loaded.programs.items():
        if each.expected_attach_type == AttachType.SK_LOOKUP:
            fd = syscall.link_create(each.fd, target, each.expected_attach_type)
            busy.link(f"sk_lookup {name}", fd)
    dissector = _dissector(loaded)
    fd = syscall.link_create(dissector, target, AttachType.FLOW_DISSECTOR)
    busy.link("flow_dissector", fd)


def _dissector(loaded: Loaded) -> int:
    return next(each.fd for each in loaded.programs.values() if each.type == 22)


def _flow_dissector_attach(busy: Busy, undo: ExitStack) -> None:
    program = _dissector(busy.loaded["netns_hooks"])
    with netns.entered(f"/run/netns/{busy.pair.far}"):
        syscall.prog_attach(0, program, AttachType.FLOW_DISSECTOR)


def _netfilter(busy: Busy, undo: ExitStack) -> None:
    loaded = _load(busy, "netfilter")
    program = next(iter(loaded.programs.values()))
    words = struct.unpack("=QQ", struct.pack("=IIiI", 2, 1, -120, 0))  # ipv4, local_in
    with _near(busy):
        fd = syscall.link_create(program.fd, 0, AttachType.NETFILTER, rest=words)
    busy.link("netfilter", fd)


def _iterators(busy: Busy, undo: ExitStack) -> None:
    loaded = _load(busy, "iterators", "TASK")
    fd = busy.link("iterator", syscall.iter_link(loaded.programs["program"].fd))
    syscall.obj_pin(fd, f"{busy.folder}/iterator")


def _struct_ops(busy: Busy, undo: ExitStack) -> None:
    loaded = _load(busy, "struct_ops", "LINK")
    target = loaded.maps["counting"].fd
    fd = syscall.link_create(target, 0, AttachType.STRUCT_OPS)
    busy.link("struct_ops", fd)


def _route(busy: Busy, undo: ExitStack) -> None:
    loaded = _load(busy, "lwt")
    pin = f"{busy.folder}/lwt"
    syscall.obj_pin(next(each.fd for each in loaded.programs.values() if each.type == 12), pin)
    words = ("route", "add", "192.0.2.0/24", "encap", "bpf", "xmit", "pinned", pin)
    run_in(busy.pair.far, "ip", *words, "dev", "hk1")


def _calls(busy: Busy, undo: ExitStack) -> None:
    fd = syscall.map_create(MapType.PROG_ARRAY, 4, 4, 8, name="busy_calls")
    undo.callback(os.close, fd)
    value = struct.pack("=I", busy.fd("hooks", "xdp_drop"))
    syscall.map_update_elem(fd, struct.pack("=I", 5), value)


def _maps(busy: Busy, undo: ExitStack) -> None:
    syscall.obj_pin(busy.loaded["hooks"].maps["hits"].fd, f"{busy.folder}/hits")


_STEPS = (
    *(_xdp_link, _xdp_netlink, _clsact, _tc_block, _tc_class, _tcx),
    *(_cgroup_link, _cgroup_attach, _raw_tracepoint, _tp_btf),
    *(
        _tracepoint_link,
        _tracepoint_event,
        _uprobe_link,
        _uretprobe_event,
        _samples,
        _samples_event,
    ),
    *(_sockmap, _sockmap_link, _netns_links, _flow_dissector_attach, _netfilter),
    *(_iterators, _struct_ops, _route, _calls, _maps),
    *busy_functions.STEPS,
)

STEPS = tuple(each.__name__.removeprefix("_") for each in _STEPS)
"""Names of what is made where the kernel has it."""
