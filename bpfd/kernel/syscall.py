# SPDX-License-Identifier: Apache-2.0
"""bpf(2), raw: one function for each command that the daemon uses.

libbpf loads ELF objects (`bpfd.kernel.libbpf`); everything that starts from a file
descriptor or an id goes through here, so that link kinds newer than the libbpf at hand
work and programs that were never in an ELF file are no special case. All functions raise
OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Iterator
from ctypes import c_char, c_int, c_uint32, c_uint64
from dataclasses import dataclass

from bpfd.kernel import attributes as attr_of
from bpfd.kernel.constants import AttachType, Cmd

_KNOW_LINKS = frozenset(
    {
        AttachType.TCX_INGRESS,
        AttachType.TCX_EGRESS,
        AttachType.NETKIT_PRIMARY,
        AttachType.NETKIT_PEER,
    }
)
"""The hooks of which BPF_PROG_QUERY tells link ids, too."""

_NUMBERS = {  # (bpf, perf_event_open): asm/unistd.h of each architecture
    "x86_64": (321, 298),
    "aarch64": (280, 241),
    "riscv64": (280, 241),
    "loongarch64": (280, 241),
    "armv": (386, 364),
    "i": (357, 336),
    "ppc64": (361, 319),
    "s390x": (351, 331),
}


def _numbers() -> tuple[int, int]:
    machine = platform.machine()
    if ctypes.sizeof(ctypes.c_void_p) == 4 and machine == "x86_64":
        machine = "i686"
    if ctypes.sizeof(ctypes.c_void_p) == 4 and machine == "aarch64":
        machine = "armv8l"
    for prefix, numbers in _NUMBERS.items():
        if machine.startswith(prefix):
            return numbers
    raise OSError(38, f"no system call numbers are known for {machine}")


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
BPF_NUMBER, PERF_EVENT_OPEN_NUMBER = _numbers()

Buffer = ctypes.Array[c_char]


def buffer(size: int) -> Buffer:
    """Zeroed memory that the kernel may write to."""
    return ctypes.create_string_buffer(size)


def bpf(cmd: int, attr: ctypes.Structure) -> int:
    """bpf(2). Returns its result; raises OSError."""
    result: int = libc.syscall(
        ctypes.c_long(BPF_NUMBER), c_int(cmd), ctypes.byref(attr), c_uint32(ctypes.sizeof(attr))
    )
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


def _address(buffer: bytes | Buffer | None) -> int:
    if buffer is None:
        return 0
    if isinstance(buffer, bytes):
        return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0
    return ctypes.addressof(buffer)


def map_create(
    map_type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    name: str = "",
    flags: int = 0,
    inner_map_fd: int = 0,
    numa_node: int = 0,
    ifindex: int = 0,
    btf_fd: int = 0,
    btf_key_type_id: int = 0,
    btf_value_type_id: int = 0,
    btf_vmlinux_value_type_id: int = 0,
    map_extra: int = 0,
) -> int:
    """BPF_MAP_CREATE: the fd of a new map. `name` is cut to 15 bytes."""
    attr = attr_of.MapCreate(
        map_type,
        key_size,
        value_size,
        max_entries,
        flags,
        inner_map_fd,
        numa_node,
        kernel_name(name),
        ifindex,
        btf_fd,
        btf_key_type_id,
        btf_value_type_id,
        btf_vmlinux_value_type_id,
        map_extra,
    )
    return bpf(Cmd.MAP_CREATE, attr)


def kernel_name(name: str) -> bytes:
    """The name as the kernel takes it: 15 bytes of letters, digits, '_' and '.'."""
    keep = (
        char if char.isascii() and (char.isalnum() or char in "_.") else "_" for char in name
    )
    return "".join(keep)[:15].encode()


def map_lookup_elem(fd: int, key: bytes, value_size: int, flags: int = 0) -> bytes:
    """The value of a key; `value_size` counts all CPUs of a per-CPU map. ENOENT: none."""
    value = ctypes.create_string_buffer(max(value_size, 1))
    bpf(Cmd.MAP_LOOKUP_ELEM, attr_of.Elem(fd, 0, _address(key), _address(value), flags))
    return value.raw[:value_size]


def map_update_elem(fd: int, key: bytes | None, value: bytes, flags: int = 0) -> None:
    """Writes one entry; `flags` is BPF_ANY, BPF_NOEXIST or BPF_EXIST, or'ed with others."""
    bpf(Cmd.MAP_UPDATE_ELEM, attr_of.Elem(fd, 0, _address(key), _address(value), flags))


def map_delete_elem(fd: int, key: bytes) -> None:
    """Removes one entry; ENOENT: there was none."""
    bpf(Cmd.MAP_DELETE_ELEM, attr_of.Elem(fd, 0, _address(key), 0, 0))


def map_get_next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key behind `key`, or the first one; None at the end."""
    following = ctypes.create_string_buffer(max(key_size, 1))
    try:
        bpf(Cmd.MAP_GET_NEXT_KEY, attr_of.Elem(fd, 0, _address(key), _address(following), 0))
    except FileNotFoundError:
        return None
    return following.raw[:key_size]


def map_batch(
    cmd: int,
    fd: int,
    count: int,
    *,
    in_batch: Buffer | None = None,
    out_batch: Buffer | None = None,
    keys: bytes | Buffer | None = None,
    values: bytes | Buffer | None = None,
    elem_flags: int = 0,
) -> tuple[int, int]:
    """One of the four batch commands. Returns (entries done, errno or 0).

    ENOENT of a lookup means that the iteration has come to its end, with the entries
    that were counted. EINVAL comes with a count of 0.
    """
    attr = attr_of.Batch(
        _address(in_batch),
        _address(out_batch),
        _address(keys),
        _address(values),
        count,
        fd,
        elem_flags,
        0,
    )
    try:
        bpf(cmd, attr)
    except OSError as error:
        errno = error.errno or 0
        done = 0 if errno in (22, 14, 1, 524, 95) else attr.count
        return done, errno
    return attr.count, 0


def map_freeze(fd: int) -> None:
    """User space may not write any more."""
    bpf(Cmd.MAP_FREEZE, attr_of.Elem(fd, 0, 0, 0, 0))


def btf_load(data: bytes, log: Buffer | None = None) -> int:
    """BPF_BTF_LOAD: the fd of the BTF object."""
    attr = attr_of.BtfLoad(_address(data), 0, len(data), 0, 0)
    if log is not None:
        attr.btf_log_buf, attr.btf_log_size, attr.btf_log_level = _address(log), len(log), 1
    return bpf(Cmd.BTF_LOAD, attr)


def prog_load(
    prog_type: int,
    instructions: bytes,
    license_name: str,
    *,
    name: str = "",
    expected_attach_type: int = 0,
    flags: int = 0,
    kernel_version: int = 0,
    ifindex: int = 0,
    btf_fd: int = 0,
    func_info: bytes = b"",
    func_info_record_size: int = 0,
    line_info: bytes = b"",
    line_info_record_size: int = 0,
    attach_btf_id: int = 0,
    attach_fd: int = 0,
    core_relocations: bytes = b"",
    core_relocation_record_size: int = 0,
    log_level: int = 0,
    log: Buffer | None = None,
) -> int:
    """BPF_PROG_LOAD: the fd of the program. The verifier writes into `log`."""
    text = license_name.encode()
    attr = attr_of.ProgLoad(
        prog_type=prog_type,
        insn_cnt=len(instructions) // 8,
        insns=_address(instructions),
        license=_address(text),
        kern_version=kernel_version,
        prog_flags=flags,
        prog_name=kernel_name(name),
        prog_ifindex=ifindex,
        expected_attach_type=expected_attach_type,
        prog_btf_fd=btf_fd,
        attach_btf_id=attach_btf_id,
        attach_fd=attach_fd,
    )
    if func_info:
        attr.func_info, attr.func_info_rec_size = _address(func_info), func_info_record_size
        attr.func_info_cnt = len(func_info) // func_info_record_size
    if line_info:
        attr.line_info, attr.line_info_rec_size = _address(line_info), line_info_record_size
        attr.line_info_cnt = len(line_info) // line_info_record_size
    if core_relocations:
        attr.core_relos = _address(core_relocations)
        attr.core_relo_rec_size = core_relocation_record_size
        attr.core_relo_cnt = len(core_relocations) // core_relocation_record_size
    if log is not None and log_level:
        attr.log_level, attr.log_size, attr.log_buf = log_level, len(log), _address(log)
    return bpf(Cmd.PROG_LOAD, attr)


def prog_test_run(
    fd: int,
    data: bytes = b"",
    *,
    context: bytes = b"",
    repeat: int = 0,
    data_out_size: int = 0,
    flags: int = 0,
    cpu: int = 0,
    batch_size: int = 0,
    context_back: bool = True,
) -> tuple[int, int, bytes, bytes]:
    """BPF_PROG_TEST_RUN: (return value, mean ns, packet out, context out).

    `context_back`: ask for the changed context. Syscall programs, raw tracepoints and tracing
    programs answer EINVAL to the wish; syscall programs write into what they were given.
    """
    data_out = ctypes.create_string_buffer(max(data_out_size, 1))
    context_in = ctypes.create_string_buffer(context, max(len(context), 1))
    context_out = ctypes.create_string_buffer(max(len(context), 1))
    attr = attr_of.TestRun(
        prog_fd=fd, repeat=repeat, flags=flags, cpu=cpu, batch_size=batch_size
    )
    if data:
        attr.data_in, attr.data_size_in = _address(data), len(data)
    if data_out_size:
        attr.data_out, attr.data_size_out = _address(data_out), data_out_size
    if context:
        attr.ctx_in, attr.ctx_size_in = _address(context_in), len(context)
        if context_back:
            attr.ctx_out, attr.ctx_size_out = _address(context_out), len(context)
    bpf(Cmd.PROG_TEST_RUN, attr)
    packet = data_out.raw[: min(attr.data_size_out, data_out_size)]
    if not context_back:
        return attr.retval, attr.duration, packet, context_in.raw[: len(context)]
    return attr.retval, attr.duration, packet, context_out.raw[: attr.ctx_size_out]


def obj_pin(fd: int, path: str) -> None:
    """Gives a program, map or link a name in a bpffs."""
    text = os.fsencode(path)
    bpf(Cmd.OBJ_PIN, attr_of.Obj(_address(text), fd, 0))


def obj_get(path: str, flags: int = 0) -> int:
    """The fd of what is pinned under `path`."""
    text = os.fsencode(path)
    return bpf(Cmd.OBJ_GET, attr_of.Obj(_address(text), 0, flags))


def ids(cmd: int) -> Iterator[int]:
    """Every id of a kind; `cmd` is Cmd.PROG_GET_NEXT_ID or one of its siblings."""
    current = 0
    while True:
        attr = attr_of.Id(current)
        try:
            bpf(cmd, attr)
        except FileNotFoundError:
            return
        current = attr.next_id
        yield current


def fd_by_id(cmd: int, number: int) -> int:
    """The fd of an id; `cmd` is Cmd.PROG_GET_FD_BY_ID or one of its siblings.

    ENOENT: it has gone meanwhile, or is not there yet: of a link that is just being made the
    kernel says EAGAIN (bpf_link_by_id in kernel/bpf/syscall.c).
    """
    try:
        return bpf(cmd, attr_of.Id(number))
    except BlockingIOError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror) from None


def obj_info(fd: int, info: ctypes.Structure) -> None:
    """BPF_OBJ_GET_INFO_BY_FD: fills `info` as far as this kernel knows its fields."""
    bpf(Cmd.OBJ_GET_INFO_BY_FD, attr_of.Info(fd, ctypes.sizeof(info), ctypes.addressof(info)))


def prog_attach(target: int, prog_fd: int, attach_type: int) -> None:
    """BPF_PROG_ATTACH: to a map or cgroup (an fd), without a link."""
    bpf(Cmd.PROG_ATTACH, attr_of.Attach(target, prog_fd, attach_type, 0, 0))


def prog_detach(target: int, prog_fd: int, attach_type: int) -> None:
    """BPF_PROG_DETACH of that program; ENOENT: another one is there, or none."""
    bpf(Cmd.PROG_DETACH, attr_of.Attach(target, prog_fd, attach_type, 0, 0))


def link_create(
    prog_fd: int, target: int, attach_type: int, flags: int = 0, *, rest: tuple[int, ...] = ()
) -> int:
    """BPF_LINK_CREATE: the fd of the link.

    `target` is an fd or an ifindex; `rest` are the 64-bit words behind `flags`, whose
    meaning depends on the attach type: for perf events the cookie; for tcx, netkit and
    cgroups (relative fd or id, expected revision); for netfilter (hook and family,
    priority and flags).
    """
    attr = attr_of.LinkCreate(prog_fd, target, attach_type, flags)
    for index, word in enumerate(rest):
        attr.rest[index] = word
    return bpf(Cmd.LINK_CREATE, attr)


def kprobe_multi_link(
    prog_fd: int,
    names: list[str],
    addresses: list[int],
    cookies: list[int],
    *,
    attach_type: int,
    ret: bool,
) -> int:
    """BPF_LINK_CREATE of a program on many kernel functions: the fd of the link.

    The functions come by `names` or by `addresses`; `cookies` are none or one for each.
    """
    texts = [ctypes.create_string_buffer(name.encode()) for name in names]
    symbols = (c_uint64 * len(texts))(*map(ctypes.addressof, texts))
    places = (c_uint64 * len(addresses))(*addresses)
    values = (c_uint64 * len(cookies))(*cookies)
    # struct { __u32 flags, cnt; __u64 syms, addrs, cookies; } of union bpf_attr
    head = (c_uint32 * 2)(1 if ret else 0, len(names) or len(addresses))
    words = (
        int.from_bytes(bytes(head), sys.byteorder),
        ctypes.addressof(symbols) if names else 0,
        ctypes.addressof(places) if addresses else 0,
        ctypes.addressof(values) if cookies else 0,
    )
    return link_create(prog_fd, 0, attach_type, rest=words)


def uprobe_multi_link(
    prog_fd: int,
    path: str,
    offsets: list[int],
    *,
    semaphores: list[int],
    cookies: list[int],
    attach_type: int,
    ret: bool,
    pid: int,
) -> int:
    """BPF_LINK_CREATE of a program at many places of a file: the fd of the link.

    `semaphores` (file offsets) and `cookies` are none or one for each; `pid` 0: every
    process.
    """
    name = ctypes.create_string_buffer(os.fsencode(path))
    arrays = [(c_uint64 * len(each))(*each) for each in (offsets, semaphores, cookies)]
    # struct { __u64 path, offsets, ref_ctr_offsets, cookies; __u32 cnt, flags, pid; }
    tail = (c_uint32 * 4)(len(offsets), 1 if ret else 0, pid)
    words = [int.from_bytes(bytes(tail)[at : at + 8], sys.byteorder) for at in (0, 8)]
    places = (ctypes.addressof(each) if len(each) else 0 for each in arrays)
    return link_create(prog_fd, 0, attach_type, rest=(ctypes.addressof(name), *places, *words))


def iter_link(prog_fd: int, where: bytes = b"") -> int:
    """BPF_LINK_CREATE of an iterator: the fd of the link.

    `where` is a union bpf_iter_link_info; empty: the kind needs none.
    """
    kept = ctypes.create_string_buffer(where, max(len(where), 1))
    length = int.from_bytes(bytes((c_uint32 * 2)(len(where), 0)), sys.byteorder)
    rest = (_address(kept), length) if where else ()
    return link_create(prog_fd, 0, AttachType.TRACE_ITER, rest=rest)


def iter_create(link_fd: int) -> int:
    """BPF_ITER_CREATE: an fd to read what one run of the iterator writes."""
    return bpf(Cmd.ITER_CREATE, attr_of.Id(link_fd, 0))


def link_update(link_fd: int, new_prog_fd: int, old_prog_fd: int = 0) -> None:
    """Exchanges the link's program atomically; with `old_prog_fd` only if that is there."""
    flags = 4 if old_prog_fd else 0  # BPF_F_REPLACE
    bpf(Cmd.LINK_UPDATE, attr_of.LinkUpdate(link_fd, new_prog_fd, flags, old_prog_fd))


def link_detach(link_fd: int) -> None:
    """Detaches though others may hold the link."""
    bpf(Cmd.LINK_DETACH, attr_of.LinkUpdate(link_fd, 0, 0, 0))


def raw_tracepoint_open(name: str | None, prog_fd: int, cookie: int = 0) -> int:
    """The fd of a raw tracepoint link; `name` None: fixed when the program was loaded."""
    text = name.encode() if name is not None else None
    return bpf(
        Cmd.RAW_TRACEPOINT_OPEN, attr_of.RawTracepoint(_address(text), prog_fd, 0, cookie)
    )


@dataclass(frozen=True)
class Query:
    """What BPF_PROG_QUERY tells of one hook, in the order in which programs run."""

    program_ids: list[int]
    link_ids: list[int]
    """Of each program; 0 where it is none or the hook does not tell."""
    attach_flags: list[int]
    """Of each program: BPF_F_ALLOW_OVERRIDE, BPF_F_ALLOW_MULTI, ..."""
    revision: int
    """0: the hook has none."""


def prog_query(target: int, attach_type: int, flags: int = 0) -> tuple[list[int], list[int]]:
    """BPF_PROG_QUERY: (program ids, link ids; the latter 0 where it is none or unknown)."""
    found = query(target, attach_type, flags)
    return found.program_ids, found.link_ids


def query(target: int, attach_type: int, flags: int = 0) -> Query:
    """BPF_PROG_QUERY of a cgroup, map or namespace (an fd), or an interface (its index)."""
    attr = attr_of.ProgQuery(target, attach_type, flags)
    bpf(Cmd.PROG_QUERY, attr)
    if not attr.prog_cnt:  # as nearly everywhere, when all of a machine is asked
        return Query([], [], [], attr.revision)
    capacity = attr.prog_cnt + 8
    while True:
        programs, links, each_flags = ((c_uint32 * capacity)() for _ in range(3))
        attr = attr_of.ProgQuery(
            target, attach_type, flags, 0, ctypes.addressof(programs), capacity
        )
        if attach_type in _KNOW_LINKS:
            attr.link_ids = ctypes.addressof(links)
        if attach_type == AttachType.LSM_CGROUP and not flags:
            # Programs of several functions: each has its own (kernel 6.0, b79c9fc9551b).
            attr.prog_attach_flags = ctypes.addressof(each_flags)
        try:
            bpf(Cmd.PROG_QUERY, attr)
        except OSError as error:
            if error.errno == 28 and attr.prog_cnt > capacity:
                capacity = attr.prog_cnt + 16
                continue
            raise
        count = attr.prog_cnt
        shared = attr.attach_flags
        return Query(
            list(programs[:count]),
            list(links[:count]),
            [each or shared for each in each_flags[:count]],
            attr.revision,
        )


@dataclass(frozen=True)
class EventProgram:
    """What BPF_TASK_FD_QUERY tells of a perf event or raw tracepoint link of a process."""

    program_id: int
    type: int
    """enum bpf_task_fd_type: 0 raw tracepoint, 1 tracepoint, 2 kprobe, 3 kretprobe,
    4 uprobe, 5 uretprobe."""
    name: str
    """Tracepoint, function or file."""
    offset: int
    """Bytes behind the start of the function or file."""
    address: int
    """Kernel address of a kprobe that has no function's name; 0: not told."""


def task_fd_query(pid: int, fd: int) -> EventProgram:
    """BPF_TASK_FD_QUERY of a process' descriptor (kernel 4.18, 41bdc4b40ed6).

    ENOENT: no program is there; EOPNOTSUPP: one is that the kernel does not tell of, on
    samples; EBADF, ESRCH: the descriptor or the process is gone.
    """
    text = ctypes.create_string_buffer(4096)
    attr = attr_of.TaskFdQuery(pid, fd, 0, len(text), ctypes.addressof(text))
    bpf(Cmd.TASK_FD_QUERY, attr)
    return EventProgram(
        attr.prog_id,
        attr.fd_type,
        os.fsdecode(text.value),
        attr.probe_offset,
        attr.probe_addr,
    )


def enable_stats() -> int:
    """BPF_ENABLE_STATS: run time statistics are on while the fd is open."""
    return bpf(Cmd.ENABLE_STATS, attr_of.Id(0))
