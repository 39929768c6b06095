# SPDX-License-Identifier: Apache-2.0
"""Facts of the machine and of this process, as the kernel tells them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import resource
import struct
import sys
import threading
import time
from dataclasses import dataclass

from bpfd.kernel.android import android_name
from bpfd.kernel.build_id import kernel_build_id

CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
"""Bits of linux/capability.h that the daemon looks at."""

_M_ARENA_MAX = -8

KERNEL_BTF = "/sys/kernel/btf/vmlinux"


def read_text(path: str, limit: int = 1 << 20) -> str:
    """The text of a small file of /proc or /sys.

    Raises OSError.
    """
    return read_bytes(path, limit).decode(errors="surrogateescape")


def read_bytes(path: str, limit: int = 1 << 20) -> bytes:
    """At most `limit` bytes of a file.

    Raises OSError.
    """
    with open(path, "rb", buffering=0) as file:
        return read_fully(file.fileno(), limit)


def read_fully(fd: int, size: int) -> bytes:
    """The next `size` bytes of an open file, less only at its end.

    Files of /proc and /sys give a page for each system call, whatever is asked for.
    Raises OSError.
    """
    chunks = []
    while size > 0 and (chunk := os.read(fd, min(size, 1 << 20))):
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _first_line(path: str) -> str:
    try:
        return read_text(path, 4096).split("\n", 1)[0].strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Host:
    """What does not change while the daemon runs."""

    hostname: str
    machine: str
    kernel_release: str
    kernel_version: str
    kernel_version_code: int
    kernel_build_id: bytes
    operating_system: str
    boot_id: str
    big_endian: bool
    pointer_bits: int
    page_size: int
    possible_cpus: int


def host() -> Host:
    """Reads the facts anew."""
    name = os.uname()
    return Host(
        hostname=name.nodename,
        machine=name.machine,
        kernel_release=name.release,
        kernel_version=name.version,
        kernel_version_code=version_code(
            name.release, name.version, _first_line("/proc/version_signature")
        ),
        kernel_build_id=kernel_build_id(),
        operating_system=_operating_system(),
        boot_id=_first_line("/proc/sys/kernel/random/boot_id"),
        big_endian=sys.byteorder == "big",
        pointer_bits=_pointer_bits(name.machine),
        page_size=os.sysconf("SC_PAGE_SIZE"),
        possible_cpus=len(cpu_list(_first_line("/sys/devices/system/cpu/possible"))) or 1,
    )


def version_code(release: str, version: str, signature: str) -> int:
    """LINUX_VERSION_CODE: major << 16 | minor << 8 | patch, the patch at most 255.

    `uname -r` of Debian ("6.1.0-56-amd64") and of Ubuntu hides the patch level; Debian
    has it in `uname -v`, Ubuntu in /proc/version_signature.
    """
    if debian := re.search(r"Debian (\d+\.\d+\.\d+)", version):
        text = debian.group(1)
    elif signature.startswith("Ubuntu "):
        text = signature.rsplit(maxsplit=1)[-1]
    else:
        text = release
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if not found:
        return 0
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major << 16 | minor << 8 | min(patch, 255)


def _pointer_bits(machine: str) -> int:
    # A 32-bit daemon may run on a 64-bit kernel: uname tells the kernel's side.
    if "64" in machine or machine in ("s390x", "alpha"):
        return 64
    return 8 * struct.calcsize("P")


def _operating_system() -> str:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = read_text(path, 65536)
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip().strip("\"'")
    return android_name()


def cpu_list(text: str) -> list[int]:
    """The CPUs of the kernel's list format: "0-3,8" is 0, 1, 2, 3, 8."""
    cpus: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            cpus.extend(range(int(first), int(last or first) + 1))
    return cpus


def online_cpus() -> list[int]:
    """CPUs that run now; where sysfs is not mounted those that this process may run on.

    Raises OSError where no file can be opened any more.
    """
    try:
        return cpu_list(read_text("/sys/devices/system/cpu/online").partition("\n")[0])
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return sorted(os.sched_getaffinity(0))


def lockdown() -> str:
    """ "none", "integrity", "confidentiality"; empty: the kernel does not tell."""
    found = re.search(r"\[(\w+)\]", _first_line("/sys/kernel/security/lockdown"))
    return found.group(1) if found else ""


def capabilities() -> int:
    """Bits of this process's effective capabilities."""
    for line in read_text("/proc/self/status", 65536).splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def has_capability(name: str, bits: int) -> bool:
    """Whether `bits` hold the capability, or one that includes it.

    CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON (kernel 5.8, commit a17b53c4a4b5).
    """
    if bits >> CAPABILITIES[name] & 1:
        return True
    return name in ("CAP_BPF", "CAP_PERFMON") and bool(
        bits >> CAPABILITIES["CAP_SYS_ADMIN"] & 1
    )


@dataclass(frozen=True)
class Clocks:
    """Real time, in nanoseconds since 1970, at which the kernel's clocks showed 0."""

    monotonic_epoch: int
    boottime_epoch: int


def clocks() -> Clocks:
    """Reads the clocks so close together that the error is far below a millisecond."""
    return Clocks(
        monotonic_epoch=_epoch(time.CLOCK_MONOTONIC),
        boottime_epoch=_epoch(time.CLOCK_BOOTTIME),
    )


def _epoch(clock: int) -> int:
    best: tuple[int, int] | None = None
    for _ in range(5):
        before = time.clock_gettime_ns(clock)
        real = time.time_ns()
        after = time.clock_gettime_ns(clock)
        if best is None or after - before < best[0]:
            best = (after - before, real - (before + after) // 2)
    assert best is not None
    return best[1]


@dataclass(frozen=True)
class BtfDigest:
    """SHA-256 and bytes of the kernel's BTF."""

    sha256: bytes
    size: int


_btf_lock = threading.Lock()
_btf: tuple[tuple[int, int], BtfDigest] | None = None


def kernel_btf_digest() -> BtfDigest | None:
    """Digest of the kernel's BTF, computed once; None: the kernel has no BTF."""
    global _btf
    try:
        stat = os.stat(KERNEL_BTF)
    except OSError:
        return None
    key = (stat.st_size, stat.st_mtime_ns)
    with _btf_lock:
        if _btf is None or _btf[0] != key:
            digest, size = hashlib.sha256(), 0
            with open(KERNEL_BTF, "rb", buffering=0) as file:
                while chunk := read_fully(file.fileno(), 1 << 20):
                    digest.update(chunk)
                    size += len(chunk)
            _btf = (key, BtfDigest(digest.digest(), size))
        return _btf[1]


def raise_limits() -> None:
    """As many open files as the hard limit allows: every program, map and link is one.

    And memory for kernels that charge BPF to the lock limit (before 5.11).
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    for limit, wanted in (
        (resource.RLIMIT_NOFILE, (most, most)),
        (resource.RLIMIT_MEMLOCK, unlimited),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, wanted)


def set_process_name(name: str) -> None:
    """What `ps` and `bpftool` show for this process, at most 15 bytes."""
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(name[:15])
    except OSError:
        pass


def limit_memory_pools() -> None:
    """Two pools of malloc for all threads: each touches memory that it never gives back.

    Does nothing where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def give_back_memory() -> None:
    """Returns to the kernel what malloc keeps free."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def group_id(name: str, path: str = "/etc/group") -> int | None:
    """Number of a group in /etc/group; None: there is none.

    getgrnam(3) would load libraries that the system's nsswitch.conf names, made for the
    system's C library, into a process that may have another one.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                found, _, number, *_ = (*line.split(":"), "", "", "")
                if found == name and number.isascii() and number.isdigit():
                    return int(number)
    except OSError:
        pass
    return None
