# SPDX-License-Identifier: Apache-2.0
"""Small experiments that show what a kernel can do. Nothing of them stays.

Each raises the OSError that the kernel answers with when it cannot, and returns when it
can. Hooks are tried in a network namespace of their own, made for that moment.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
from collections.abc import Callable

from bpfd.kernel import perf_event, syscall
from bpfd.kernel import struct_ops as struct_ops_maps
from bpfd.kernel.constants import ENOTSUPP, AttachType, Cmd, MapType, ProgType
from bpfd.kernel.libbpf import vmlinux_type_id
from bpfd.kernel.netns import CLONE_NEWNET

BPF_F_NO_PREALLOC, BPF_F_MMAPABLE = 1 << 0, 1 << 10
BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS = 1 << 4, 1 << 5
_BTF_KIND_STRUCT, _BTF_KIND_TYPEDEF, _BTF_KIND_FUNC = 4, 8, 12
_LOOPBACK = 1

TRAMPOLINE = "bpf_fentry_test1"
"""A function that returns (Linux 5.5, faeb2dce084a): since 6.15, and in stable kernels before,
fexit is refused on those that never do."""


def _instruction(opcode: int, registers: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn; `registers` is source << 4 | destination."""
    if sys.byteorder == "big":
        registers = (registers & 15) << 4 | registers >> 4
    return struct.pack("=BBhi", opcode, registers, offset, value)


_HELPER_LOG_BYTES = 4096
_EXIT = _instruction(0x95)
_RETURN_0 = _instruction(0xB7) + _EXIT
_RETURN_1 = _instruction(0xB7, value=1) + _EXIT

INSTRUCTION_SETS = {
    # r0 = 0; if (r0 < 1) goto +0
    "v2": _instruction(0xB7) + _instruction(0xA5, value=1) + _EXIT,
    # r0 = 0; if (w0 == 0) goto +0
    "v3": _instruction(0xB7) + _instruction(0x16) + _EXIT,
    # r0 = 0; r0 = (s8)r0
    "v4": _instruction(0xB7) + _instruction(0xBF, offset=8) + _EXIT,
}
"""A program of each `-mcpu` of the compiler that uses what is new in it."""


def load_program(
    program_type: int,
    expected_attach_type: int = 0,
    *,
    flags: int = 0,
    instructions: bytes = _RETURN_0,
    attach_btf_id: int = 0,
) -> int:
    """The fd of a program that does nothing."""
    return syscall.prog_load(
        program_type,
        instructions,
        "GPL",
        expected_attach_type=expected_attach_type,
        flags=flags,
        attach_btf_id=attach_btf_id,
    )


_RETURNING_1 = (ProgType.SK_LOOKUP, ProgType.CGROUP_SOCK_ADDR, ProgType.NETFILTER)
"""The verifier lets their programs return no 0 at some hooks, or at any."""


def program_type(number: int, expected_attach_type: int = 0, flags: int = 0) -> None:
    """Loads a program of this type. A kernel before 4.20 says why in EINVAL or E2BIG."""
    instructions = _RETURN_1 if number in _RETURNING_1 else _RETURN_0
    os.close(load_program(number, expected_attach_type, flags=flags, instructions=instructions))


def instruction_set(name: str) -> None:
    """Loads a program of that instruction set."""
    os.close(load_program(ProgType.SOCKET_FILTER, instructions=INSTRUCTION_SETS[name]))


def helper(number: int, program: int = ProgType.SOCKET_FILTER) -> None:
    """Loads a program that calls a helper which needs no arguments."""
    os.close(load_program(program, instructions=_instruction(0x85, value=number) + _EXIT))


def helper_words(
    number: int, program: int, attach_type: int = 0, btf_name: str = "", btf_kind: int = 0
) -> str:
    """What the verifier says of a program that calls this helper without arguments; empty:
    it takes the program. `btf_name`: what of the kernel it is loaded for.

    Raises OSError where the verifier says nothing, and FileNotFoundError for a name that the
    kernel's BTF does not have.
    """
    log = syscall.buffer(_HELPER_LOG_BYTES)
    value = 1 if program in _RETURNING_1 else 0
    ends = _instruction(0xB7, value=value) + _EXIT
    try:
        os.close(
            syscall.prog_load(
                program,
                _instruction(0x85, value=number) + ends,
                "GPL",
                expected_attach_type=attach_type,
                attach_btf_id=_type_id(btf_name, btf_kind) if btf_name else 0,
                log_level=1,
                log=log,
            )
        )
    except OSError as error:
        words = _last_words(log.value.decode(errors="replace"))
        if not words:
            raise OSError(error.errno, error.strerror) from None
        return words
    return ""


def _last_words(log: str) -> str:
    """The last line of a verifier's log that is neither statistics nor an instruction."""
    lines = [line.strip() for line in log.splitlines()]
    said = [
        line
        for line in lines
        if line and not line.startswith(("processed ", "verification time", "stack depth"))
    ]
    return said[-1] if said else ""


def small_btf() -> int:
    """The fd of a BTF object with one type: 1 is `int`."""
    strings = b"\0int\0"
    types = struct.pack("=IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return syscall.btf_load(header + types + strings)


_SIZES: dict[int, tuple[int, int, int, int]] = {
    MapType.STACK_TRACE: (4, 8, 1, 0),
    MapType.LPM_TRIE: (8, 4, 1, BPF_F_NO_PREALLOC),
    MapType.CGROUP_STORAGE: (16, 4, 0, 0),
    MapType.PERCPU_CGROUP_STORAGE: (16, 4, 0, 0),
    MapType.QUEUE: (0, 4, 1, 0),
    MapType.STACK: (0, 4, 1, 0),
    MapType.BLOOM_FILTER: (0, 4, 1, 0),
    MapType.RINGBUF: (0, 0, 1 << 16, 0),
    MapType.USER_RINGBUF: (0, 0, 1 << 16, 0),
    MapType.ARENA: (0, 0, 1, BPF_F_MMAPABLE),
    MapType.SK_STORAGE: (4, 4, 0, BPF_F_NO_PREALLOC),
    MapType.INODE_STORAGE: (4, 4, 0, BPF_F_NO_PREALLOC),
    MapType.TASK_STORAGE: (4, 4, 0, BPF_F_NO_PREALLOC),
    MapType.CGRP_STORAGE: (4, 4, 0, BPF_F_NO_PREALLOC),
    MapType.REUSEPORT_SOCKARRAY: (4, 8, 1, 0),
    MapType.INSN_ARRAY: (4, 16, 1, 0),
}
_LOCAL_STORAGE = (
    MapType.SK_STORAGE,
    MapType.INODE_STORAGE,
    MapType.TASK_STORAGE,
    MapType.CGRP_STORAGE,
)
_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)


def create_map(number: int, more_flags: int = 0) -> int:
    """The fd of the smallest map of a type."""
    key, value, entries, flags = _SIZES.get(number, (4, 4, 1, 0))
    flags |= more_flags
    if number in _LOCAL_STORAGE:
        btf = small_btf()
        try:
            return syscall.map_create(
                number,
                key,
                value,
                entries,
                flags=flags,
                btf_fd=btf,
                btf_key_type_id=1,
                btf_value_type_id=1,
            )
        finally:
            os.close(btf)
    inner = syscall.map_create(MapType.ARRAY, 4, 4, 1) if number in _OF_MAPS else 0
    try:
        return syscall.map_create(number, key, value, entries, flags=flags, inner_map_fd=inner)
    finally:
        if inner:
            os.close(inner)


def map_type(number: int, flags: int = 0) -> None:
    """Makes a map of this type, with further flags."""
    os.close(create_map(number, flags))


def struct_ops() -> None:
    """The kernel's BTF knows a struct_ops."""
    _type_id("bpf_struct_ops_tcp_congestion_ops", _BTF_KIND_STRUCT)


def map_batch(number: int) -> None:
    """BPF_MAP_LOOKUP_BATCH on a map of this type."""
    fd = create_map(number)
    try:
        position, keys = syscall.buffer(64), syscall.buffer(64)
        values = syscall.buffer(8 * (os.sysconf("SC_NPROCESSORS_CONF") + 8))
        done, error = syscall.map_batch(
            Cmd.MAP_LOOKUP_BATCH, fd, 1, out_batch=position, keys=keys, values=values
        )
    finally:
        os.close(fd)
    # An empty hash answers ENOENT or ENOSPC, and an array gives its entry.
    if not done and error in (1, 22, 95, ENOTSUPP):
        raise OSError(error, _words(error))


def _words(error: int) -> str:
    return "ENOTSUPP" if error == ENOTSUPP else os.strerror(error)


def _type_id(name: str, kind: int) -> int:
    number = vmlinux_type_id(name, kind)
    if not number:
        raise FileNotFoundError(2, f"the kernel's BTF has no {name}")
    return number


def tracing(attach_type: int) -> None:
    """Attaches a fentry or fexit program, for a moment, to a function that only tests call.

    Loading shows too little: an architecture without trampolines takes the program and
    answers ENOTSUPP to the attachment.
    """
    number = _type_id(TRAMPOLINE, _BTF_KIND_FUNC)
    _attach(load_program(ProgType.TRACING, attach_type, attach_btf_id=number))


def _attach(fd: int) -> None:
    """To what the program was loaded for; takes the fd over."""
    try:
        os.close(syscall.raw_tracepoint_open(None, fd))
    finally:
        os.close(fd)


def tp_btf() -> None:
    """Loads a program of a BTF raw tracepoint."""
    number = _type_id("btf_trace_sched_switch", _BTF_KIND_TYPEDEF)
    attach_type = AttachType.TRACE_RAW_TP
    os.close(load_program(ProgType.TRACING, attach_type, attach_btf_id=number))


def iterator() -> None:
    """Loads an iterator of tasks."""
    number = _type_id("bpf_iter_task", _BTF_KIND_FUNC)
    os.close(load_program(ProgType.TRACING, AttachType.TRACE_ITER, attach_btf_id=number))


def lsm() -> None:
    """Attaches a program that allows to a security hook that is hardly ever called."""
    number = _type_id("bpf_lsm_quotactl", _BTF_KIND_FUNC)
    _attach(load_program(ProgType.LSM, AttachType.LSM_MAC, attach_btf_id=number))


def lsm_cgroup() -> None:
    """Loads a program of a security hook of cgroups, where trampolines can be attached."""
    tracing(AttachType.TRACE_FENTRY)
    number = _type_id("bpf_lsm_socket_bind", _BTF_KIND_FUNC)
    os.close(
        load_program(
            ProgType.LSM,
            AttachType.LSM_CGROUP,
            instructions=_RETURN_1,
            attach_btf_id=number,
        )
    )


def link(
    program: int, attach_type: int, target: int, rest: tuple[int, ...] = (), flags: int = 0
) -> None:
    """Makes a link of a program that does nothing."""
    returns = _RETURN_1 if program in _RETURNING_1 else _RETURN_0
    fd = load_program(program, attach_type, instructions=returns)
    try:
        os.close(syscall.link_create(fd, target, attach_type, flags, rest=rest))
    finally:
        os.close(fd)


def link_of_no_target(program: int, attach_type: int) -> None:
    """Kernels that know the link look at its target, and find that it is no fd (EBADF)."""
    try:
        link(program, attach_type, 0xFFFFFFFF)
    except OSError as error:
        if error.errno != 9:
            raise


def xdp_link() -> None:
    """A link of XDP, generic, on the loopback of a new network namespace."""
    _elsewhere(lambda: link(ProgType.XDP, AttachType.XDP, _LOOPBACK, flags=1 << 1))


def tcx_link() -> None:
    """A link of tcx on the loopback of a new network namespace."""
    _elsewhere(lambda: link(ProgType.SCHED_CLS, AttachType.TCX_INGRESS, _LOOPBACK))


def netfilter_link() -> None:
    """A link of netfilter, IPv4 LOCAL_IN, in a new network namespace."""
    family_and_hook = int.from_bytes(struct.pack("=II", 2, 1), sys.byteorder)
    priority = int.from_bytes(struct.pack("=iI", -128, 0), sys.byteorder)
    attach_type = AttachType.NETFILTER
    _elsewhere(lambda: link(ProgType.NETFILTER, attach_type, 0, (family_and_hook, priority)))


def uprobe_multi_link(attach_type: int = AttachType.TRACE_UPROBE_MULTI) -> None:
    """A folder is no file to put probes in: kernels that know the link say EBADF."""
    path, offsets = ctypes.create_string_buffer(b"/"), ctypes.c_uint64(0)
    words = (ctypes.addressof(path), ctypes.addressof(offsets), 0, 0)
    count = int.from_bytes(struct.pack("=II", 1, 0), sys.byteorder)
    try:
        link(ProgType.KPROBE, attach_type, 0, (*words, count))
    except OSError as error:
        if error.errno != 9:
            raise


def kprobe_multi_link() -> None:
    """No function has this name: kernels that know the link search for it (ESRCH)."""
    name = ctypes.create_string_buffer(b"bpfd_no_such_function")
    names = (ctypes.c_uint64 * 1)(ctypes.addressof(name))
    count = int.from_bytes(struct.pack("=II", 0, 1), sys.byteorder)
    try:
        words = (count, ctypes.addressof(names))
        link(ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI, 0, words)
    except OSError as error:
        if error.errno not in (2, 3):
            raise


def struct_ops_link() -> None:
    """Kernels that know links of struct_ops look which struct it is before they refuse."""
    if not struct_ops_maps.has_links():
        raise OSError(22, os.strerror(22))


def netkit() -> None:
    """Kernels with netkit say that the loopback is none, others know no such hook."""
    try:
        syscall.prog_query(_LOOPBACK, AttachType.NETKIT_PRIMARY)
    except OSError as error:
        if error.errno != 6:
            raise


def perf_source(name: str) -> None:
    """The kernel has this source of perf events."""
    perf_event.source_type(name)


def kprobe_at_entry() -> None:
    """A disabled probe of a function's first instruction."""
    os.close(perf_event.open_kprobe(TRAMPOLINE, 0, ret=False))


def hardware_counters() -> None:
    """Opens a counter of CPU cycles."""
    os.close(perf_event.open_sampler(0, 0, cpu=0, period=1 << 40))


def run_statistics() -> None:
    """BPF_ENABLE_STATS."""
    os.close(syscall.enable_stats())


def file_exists(path: str) -> None:
    """The kernel shows this file."""
    os.stat(path)


def _elsewhere(action: Callable[[], None]) -> None:
    """Runs in a thread with a network namespace of its own, which ends with the thread."""
    failure: list[OSError] = []

    def run() -> None:
        try:
            if syscall.libc.unshare(CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"unshare: {os.strerror(number)}")
            action()
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
