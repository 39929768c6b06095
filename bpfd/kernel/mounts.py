# SPDX-License-Identifier: Apache-2.0
"""The kernel's file systems: where they are mounted, and mounting those that are missing.

What is mounted here stays mounted when the daemon ends: pins live in bpffs, and tracefs
is a mount that every distribution makes at boot anyway.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd import errors

BPFFS = "/sys/fs/bpf"
TRACEFS = "/sys/kernel/tracing"

_WANTED = ("bpf", "tracefs", "debugfs", "cgroup2", "proc", "sysfs")
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_RELATIME = 2, 4, 8, 1 << 21
_BPF_FS_MAGIC = 0xCAFE4A11


@dataclass(frozen=True)
class MountPoint:
    """One line of /proc/self/mountinfo; `root` is the folder of the file system shown."""

    type: str
    path: str
    read_only: bool
    root: str = "/"
    id: int = 0


def parse_mountinfo(text: str) -> list[MountPoint]:
    """All mounts, in the order in which they were made."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ", 1)[0]
        if separator and len(fields) >= 6:
            root, path = _unescape(fields[3]), _unescape(fields[4])
            read_only = "ro" in fields[5].split(",")
            found.append(MountPoint(kind, path, read_only, root, int(fields[0])))
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def everything() -> list[MountPoint]:
    """All mounts of this mount namespace."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mountinfo(file.read())


def mounts() -> list[MountPoint]:
    """Mounts of the kernel's file systems in this mount namespace."""
    return [mount for mount in everything() if mount.type in _WANTED]


def find(kind: str, preferred: str = "") -> str:
    """Path of a mount of that type, the preferred one if it is there; empty: none."""
    paths = [mount.path for mount in mounts() if mount.type == kind and mount.root == "/"]
    if preferred in paths:
        return preferred
    return paths[0] if paths else ""


def ensure_tracefs() -> str:
    """Path of tracefs, mounted at /sys/kernel/tracing when it is nowhere.

    Raises NotSupported or PermissionMissing.
    """
    if path := find("tracefs", TRACEFS):
        return path
    if not os.path.isdir(TRACEFS):
        raise errors.NotSupported("tracefs", needs="a kernel with CONFIG_TRACING")
    with _locked(TRACEFS):
        if path := find("tracefs", TRACEFS):
            return path
        _mount("tracefs", TRACEFS, _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RELATIME, "")
    return TRACEFS


def ensure_bpffs(path: str = BPFFS) -> str:
    """Makes `path` a folder of a bpffs: inside one that is mounted, or a mount of its own.

    Raises PermissionMissing, NotSupported or KernelError.
    """
    path = os.path.abspath(path)
    # The kernel makes the folder /sys/fs/bpf; nobody can make one in it before the mount.
    point = BPFFS if path.startswith(f"{BPFFS}/") else path
    if _magic(_existing(path)) != _BPF_FS_MAGIC:
        _make_folder(point)
        with _locked(point):
            if _magic(point) != _BPF_FS_MAGIC:
                flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RELATIME
                _mount("bpf", point, flags, "mode=0700")
    _make_folder(path)
    return path


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise errors.KernelError(f"making the folder {path}", error.errno or 0) from None


def _existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Two daemons that start together must not mount over each other."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _magic(path: str) -> int:
    # struct statfs begins with f_type, a word of the machine everywhere but on s390x
    # (unsigned int) and mips (long); 256 bytes hold every variant.
    buffer = (ctypes.c_ulong * 32)()
    if _libc().statfs(os.fsencode(path), buffer) != 0:
        return 0
    return int(buffer[0]) & 0xFFFFFFFF


def _mount(kind: str, path: str, flags: int, data: str) -> None:
    mount = _libc().mount
    mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    if mount(b"none", os.fsencode(path), kind.encode(), flags, data.encode() or None) == 0:
        return
    number = ctypes.get_errno()
    action = f"mounting {kind} at {path}"
    if number in (errno.EPERM, errno.EACCES):
        raise errors.PermissionMissing("CAP_SYS_ADMIN", action=action)
    if number == errno.ENODEV:
        option = "CONFIG_BPF_SYSCALL" if kind == "bpf" else "CONFIG_TRACING"
        raise errors.NotSupported(kind, needs=f"a kernel with {option}")
    hint = f"mount it before the daemon starts: mount -t {kind} none {path}"
    raise errors.KernelError(action, number, hint)
