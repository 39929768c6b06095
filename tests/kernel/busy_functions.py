# SPDX-License-Identifier: Apache-2.0
"""What a busy machine has on functions: of the kernel, of its modules, of programs, and of
files. Each step raises NotSupported with the kernel's lack as reason."""

from __future__ import annotations

import functools
import os
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bpfd import errors
from bpfd.features import PROBES
from bpfd.kernel import elf_object, interface, netns, perf_event, syscall
from bpfd.kernel.constants import AttachType
from bpfd.kernel.load_options import Loaded, LoadOptions, ProgramSetting
from tests.kernel import clang

if TYPE_CHECKING:
    from tests.kernel.busy_machine import Busy

FUNCTION, OTHER = "notify_change", "vfs_truncate"
OF_MODULE = "veth_xmit"
"""A function of a module where veth is one."""


def needs(feature: str) -> None:
    """Raises NotSupported where this kernel lacks a feature by the name of its probe."""
    if why := _lack_of(feature):
        raise errors.NotSupported(feature, needs=why)


@functools.cache
def _lack_of(feature: str) -> str:
    try:
        PROBES[feature].run()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _load(busy: Busy, define: str, name: str = "", **setting: str) -> Loaded:
    """programs/functions.bpf.c with a define; nothing that it does counts anything here."""
    options = LoadOptions()
    if setting:
        options = LoadOptions(programs={"program": ProgramSetting(**setting)})  # type: ignore[arg-type]
    name = name or define.lower()
    elf = clang.compiled("functions", define)
    busy.loaded[name] = elf_object.load(name, elf, options)
    return busy.loaded[name]


def _kprobe_link(busy: Busy, undo: ExitStack) -> None:
    needs("kprobe of functions")
    _load(busy, "KPROBE")
    event = perf_event.open_kprobe(FUNCTION, 0, ret=False)
    fd, _ = perf_event.attach(event, busy.fd("kprobe", "program"))
    busy.link("kprobe", fd)


def _kretprobe_event(busy: Busy, undo: ExitStack) -> None:
    needs("kprobe of functions")
    event = perf_event.open_kprobe(FUNCTION, 0, ret=True)
    busy.by_ioctl("kretprobe event", event, busy.fd("kprobe", "other"))


def _kprobe_multi(busy: Busy, undo: ExitStack) -> None:
    needs("kprobe multi link")
    program = _load(busy, "KPROBE_MULTI").programs["program"]
    kind = AttachType.TRACE_KPROBE_MULTI
    for name, ret in (("kprobe multi", False), ("kretprobe multi", True)):
        fd = syscall.kprobe_multi_link(
            program.fd, [FUNCTION, OTHER], [], [], attach_type=kind, ret=ret
        )
        busy.link(name, fd)


def _kprobe_session(busy: Busy, undo: ExitStack) -> None:
    needs("kprobe multi link")
    program = _load(busy, "KPROBE_SESSION").programs["program"]
    kind = AttachType.TRACE_KPROBE_SESSION
    fd = syscall.kprobe_multi_link(program.fd, [FUNCTION], [], [], attach_type=kind, ret=False)
    busy.link("kprobe session", fd)


def _uprobe_multi(busy: Busy, undo: ExitStack) -> None:
    needs("uprobe multi link")
    elf = clang.compiled("uprobes", "MULTI")
    loaded = busy.loaded["uprobe_multi"] = elf_object.load("uprobe_multi", elf, LoadOptions())
    path, first, second = busy.places
    kind = AttachType.TRACE_UPROBE_MULTI
    for name, ret in (("uprobe multi", False), ("uretprobe multi", True)):
        fd = syscall.uprobe_multi_link(
            loaded.programs["program"].fd,
            path,
            [first, second],
            semaphores=[],
            cookies=[7, 8] if ret else [],
            attach_type=kind,
            ret=ret,
            pid=os.getpid() if ret else 0,
        )
        busy.link(name, fd)


def _trampoline(busy: Busy, define: str, name: str = "", **setting: str) -> None:
    loaded = _load(busy, define, name, **setting)
    name = name or define.lower()
    fd = syscall.raw_tracepoint_open(None, loaded.programs["program"].fd)
    busy.link(name, fd)


def _fentry(busy: Busy, undo: ExitStack) -> None:
    needs("fentry")
    _trampoline(busy, "FENTRY")
    cookie = (0, 0x1122334455667788)
    other = busy.fd("fentry", "other")
    busy.link(
        "fentry cookie", syscall.link_create(other, 0, AttachType.TRACE_FENTRY, rest=cookie)
    )


def _fentry_of_module(busy: Busy, undo: ExitStack) -> None:
    needs("fentry")
    _trampoline(busy, "FENTRY", "fentry of module", attach_function=OF_MODULE)


def _fexit(busy: Busy, undo: ExitStack) -> None:
    needs("fexit")
    _trampoline(busy, "FEXIT")


def _fmod_ret(busy: Busy, undo: ExitStack) -> None:
    needs("fentry")
    _trampoline(busy, "FMOD_RET")


def _fsession(busy: Busy, undo: ExitStack) -> None:
    needs("fentry")
    _trampoline(busy, "FSESSION")


def _lsm(busy: Busy, undo: ExitStack) -> None:
    needs("LSM")
    _trampoline(busy, "LSM")


def _lsm_cgroup(busy: Busy, undo: ExitStack) -> None:
    needs("LSM of cgroups")
    elf = clang.compiled("lsm_cgroup")
    loaded = busy.loaded["lsm_cgroup"] = elf_object.load("lsm_cgroup", elf, LoadOptions())
    group = os.open(busy.inner, os.O_RDONLY | os.O_DIRECTORY)
    undo.callback(os.close, group)
    program = loaded.programs["no_bind"]
    busy.link("lsm_cgroup", syscall.link_create(program.fd, group, AttachType.LSM_CGROUP))


def _freplace(busy: Busy, undo: ExitStack) -> None:
    """An extension of a function, and a program that sees that function's program run."""
    needs("fentry")
    target = elf_object.load("target", clang.compiled("freplace"), LoadOptions())
    busy.loaded["freplace"] = target
    setting = ProgramSetting(
        attach_function="verdict", attach_program_fd=target.programs["program"].fd
    )
    options = LoadOptions(programs={"drops": setting, "sends_back": setting})
    elf = clang.compiled("freplace", "EXTENSION")
    loaded = busy.loaded["extension"] = elf_object.load("extension", elf, options)
    busy.link("freplace", syscall.link_create(loaded.programs["drops"].fd, 0, 0))


def _fentry_of_program(busy: Busy, undo: ExitStack) -> None:
    needs("fentry")
    setting = ProgramSetting(
        load=True,
        attach_function="other_verdict",
        attach_program_fd=busy.fd("freplace", "program"),
    )
    options = LoadOptions(programs={"aimed_entry": setting})
    loaded = elf_object.load("aimed", clang.compiled("aimed"), options)
    busy.loaded["fentry of program"] = loaded
    fd = syscall.raw_tracepoint_open(None, loaded.programs["aimed_entry"].fd)
    busy.link("fentry of program", fd)


def _netkit(busy: Busy, undo: ExitStack) -> None:
    needs("netkit link")
    words = ("ip", "-n", busy.pair.near, "link", "add", "prim0", "type", "netkit")
    subprocess.run(words, check=True, capture_output=True, text=True)
    loaded = elf_object.load("netkit", clang.compiled("netkit"), LoadOptions())
    busy.loaded["netkit"] = loaded
    with netns.entered(f"/run/netns/{busy.pair.near}"):
        index = interface.index_of("prim0")
        for name, kind in (
            ("passes", AttachType.NETKIT_PRIMARY),
            ("drops", AttachType.NETKIT_PRIMARY),
            ("peer_drops", AttachType.NETKIT_PEER),
        ):
            fd = syscall.link_create(loaded.programs[name].fd, index, kind)
            busy.link(f"netkit {name}", fd)


STEPS = (
    *(_kprobe_link, _kretprobe_event, _kprobe_multi, _kprobe_session, _uprobe_multi),
    *(_fentry, _fentry_of_module, _fexit, _fmod_ret, _fsession, _lsm, _lsm_cgroup),
    *(_freplace, _fentry_of_program, _netkit),
)
