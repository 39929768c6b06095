# SPDX-License-Identifier: Apache-2.0
"""perf_event_open(2) and its ioctls, and the kernel's own account of perf event sources.

Structure and bits follow include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
from ctypes import c_int, c_int32, c_uint16, c_uint32, c_uint64
from pathlib import Path

from bpfd.kernel.constants import AttachType
from bpfd.kernel.host import online_cpus
from bpfd.kernel.syscall import PERF_EVENT_OPEN_NUMBER, libc, link_create

TYPE_TRACEPOINT = 2
_FD_CLOEXEC = 1 << 3
_PID_CGROUP = 1 << 2

_DISABLED = 1 << 0
_INHERIT = 1 << 1
_FREQUENCY = 1 << 10
_INHERIT_THREAD = 1 << 35  # Linux 5.13 (2b26f0aa0049)

_SOURCES = "/sys/bus/event_source/devices"


class _Attr(ctypes.Structure):
    _fields_ = (
        ("type", c_uint32),
        ("size", c_uint32),
        ("config", c_uint64),
        ("sample_period", c_uint64),  # or sample_freq
        ("sample_type", c_uint64),
        ("read_format", c_uint64),
        ("flags", c_uint64),
        ("wakeup_events", c_uint32),
        ("bp_type", c_uint32),
        ("config1", c_uint64),
        ("config2", c_uint64),
        ("branch_sample_type", c_uint64),
        ("sample_regs_user", c_uint64),
        ("sample_stack_user", c_uint32),
        ("clockid", c_int32),
        ("sample_regs_intr", c_uint64),
        ("aux_watermark", c_uint32),
        ("sample_max_stack", c_uint16),
        ("_reserved", c_uint16),
    )


def _ioctl_numbers() -> tuple[int, int]:
    """PERF_EVENT_IOC_ENABLE and _SET_BPF: powerpc and MIPS number directions otherwise."""
    if platform.machine().startswith(("ppc", "mips")):
        return 0x20002400, 0x80042408
    return 0x2400, 0x40042408


def _open(attr: _Attr, pid: int, cpu: int, flags: int = 0) -> int:
    attr.size = ctypes.sizeof(_Attr)
    result: int = libc.syscall(
        ctypes.c_long(PERF_EVENT_OPEN_NUMBER),
        ctypes.byref(attr),
        c_int(pid),
        c_int(cpu),
        c_int(-1),
        ctypes.c_ulong(flags | _FD_CLOEXEC),
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def open_tracepoint(event_id: int) -> int:
    """A disabled event of a tracepoint, for all processes and CPUs once a program is on it."""
    attr = _Attr(type=TYPE_TRACEPOINT, config=event_id, sample_period=1, flags=_DISABLED)
    return _open(attr, -1, online_cpus()[0])


def open_uprobe(path: str, offset: int, *, ret: bool, pid: int, semaphore_offset: int) -> int:
    """A disabled event of a probe at a file offset; `pid` -1: in every process.

    Raises OSError; ENOENT also when the kernel has no uprobes.
    """
    config = semaphore_offset << _semaphore_shift() if semaphore_offset else 0
    if ret:
        config |= 1 << _first_bit("uprobe/format/retprobe", 0)
    name = ctypes.create_string_buffer(os.fsencode(path))
    attr = _Attr(
        type=source_type("uprobe"),
        config=config,
        config1=ctypes.addressof(name),
        config2=offset,
        flags=_DISABLED,
    )
    return _open(attr, pid, -1 if pid > 0 else online_cpus()[0])


def open_kprobe(function: str | None, place: int, *, ret: bool) -> int:
    """A disabled event of a probe in the kernel, for all processes and CPUs.

    `place` is the offset into `function`, or an address where that is None. Raises OSError;
    ENOENT for a function that is not there.
    """
    name = ctypes.create_string_buffer(function.encode()) if function is not None else None
    attr = _Attr(
        type=source_type("kprobe"),
        config=1 << _first_bit("kprobe/format/retprobe", 0) if ret else 0,
        config1=ctypes.addressof(name) if name is not None else 0,
        config2=place,
        flags=_DISABLED,
    )
    return _open(attr, -1, online_cpus()[0])


def open_sampler(
    event_type: int,
    config: int,
    *,
    cpu: int,
    frequency: int = 0,
    period: int = 0,
    tid: int = -1,
    cgroup_fd: int = -1,
) -> int:
    """A disabled sampling event of a CPU (-1: any) and a thread (-1: any).

    Threads that the thread starts later are sampled too. With `cgroup_fd` only tasks of
    that control group. Raises OSError.
    """
    flags = _DISABLED | (_FREQUENCY if frequency else 0)
    attr = _Attr(type=event_type, config=config, sample_period=frequency or period, flags=flags)
    if cgroup_fd >= 0:
        return _open(attr, cgroup_fd, cpu, _PID_CGROUP)
    if tid < 0:
        return _open(attr, -1, cpu)
    attr.flags = flags | _INHERIT | _INHERIT_THREAD
    try:
        return _open(attr, tid, cpu)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.E2BIG):
            raise
    attr.flags = flags | _INHERIT
    return _open(attr, tid, cpu)


def open_counter(kind: int, config: int, *, tid: int, cpu: int) -> int:
    """An event that counts and runs; `tid` or `cpu` -1: any."""
    return _open(_Attr(type=kind, config=config), tid, cpu)


def attach(event_fd: int, prog_fd: int, cookie: int = 0) -> tuple[int, bool]:
    """Puts a program on an event and enables it; takes the fd over, also when it fails.

    Returns (fd, whether it is a bpf link): a link since Linux 5.15 (b89fbfbb854c), else
    the event itself, which detaches when it is closed. Raises OSError; EOPNOTSUPP when a
    cookie is wanted and there are no links.
    """
    enable, set_bpf = _ioctl_numbers()
    try:
        link = -1
        try:
            rest = (cookie,) if cookie else ()
            link = link_create(prog_fd, event_fd, AttachType.PERF_EVENT, rest=rest)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fcntl.ioctl(event_fd, set_bpf, prog_fd)
            if cookie:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from None
        try:
            fcntl.ioctl(event_fd, enable, 0)
        except OSError:
            if link >= 0:
                os.close(link)
            raise
    except OSError:
        os.close(event_fd)
        raise
    if link < 0:
        return event_fd, False
    os.close(event_fd)  # the link holds the event
    return link, True


def source_type(name: str) -> int:
    """perf_event_attr.type of an event source. Raises FileNotFoundError."""
    return int(Path(_SOURCES, name, "type").read_text())


def sources() -> dict[str, int]:
    """The event sources of this kernel with their types."""
    found: dict[str, int] = {}
    try:
        for name in os.listdir(_SOURCES):
            found[name] = source_type(name)
    except OSError:
        pass
    return found


def has_semaphores() -> bool:
    """Uprobes can count a USDT semaphore: Linux 4.20 (a6ca88b241d5)."""
    return Path(_SOURCES, "uprobe/format/ref_ctr_offset").exists()


def _semaphore_shift() -> int:
    return _first_bit("uprobe/format/ref_ctr_offset", 32)


def _first_bit(name: str, default: int) -> int:
    """The lowest bit of a format file: "config:0" or "config:32-63"."""
    try:
        text = Path(_SOURCES, name).read_text()
    except OSError:
        return default
    return int(text.strip().partition(":")[2].partition("-")[0])


def max_sample_rate() -> int:
    """kernel.perf_event_max_sample_rate: samples per second and CPU; 0: not known."""
    try:
        return int(Path("/proc/sys/kernel/perf_event_max_sample_rate").read_text())
    except (OSError, ValueError):
        return 0


def threads(pid: int) -> list[int]:
    """Thread ids of a process. Raises FileNotFoundError."""
    return sorted(int(each) for each in os.listdir(f"/proc/{pid}/task"))
