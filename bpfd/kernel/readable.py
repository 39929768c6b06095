# SPDX-License-Identifier: Apache-2.0
"""Which files of the target clients may read, and opening them without a race.

A path is opened first, without reading (O_PATH), and judged by what was opened: by its
file system, by the mount through which it was reached, and by its place there, never by the
words of the request. Links and `..` can therefore lead nowhere else, and nothing can be
exchanged between the look and the read.

Only mounts of the daemon's own mount namespace count. Whoever can make a user namespace
can make any mount in it, and /proc/PID/root leads there: the environment of init under
the name of a library, for instance. Files that processes run are found there all the
same, because to map a file one must be allowed to read it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from bpfd.errors import InvalidArgument, KernelError, NotFound, PermissionMissing
from bpfd.kernel import mounts, processes
from bpfd.kernel.build_id import is_elf

PROC, SYSFS, TRACEFS = 0x9FA0, 0x62656572, 0x74726163
CGROUP, CGROUP2, NSFS = 0x27E0EB, 0x63677270, 0x6E736673
"""linux/magic.h."""

_KERNEL = {PROC, SYSFS, TRACEFS, CGROUP, CGROUP2}

SYSTEM_FOLDERS = tuple(
    f"{folder}/"
    for folder in (
        *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/opt", "/boot"),
        *("/nix/store", "/gnu/store", "/snap", "/system", "/vendor", "/apex", "/product"),
    )
)
"""Where ELF files may be read whether or not a process maps them."""

_DENIED = {
    # Memory, environments, addresses that protect a process, keys, the kernel's log and
    # memory, devices whose registers answer a read.
    PROC: re.compile(
        r"/(\d+/(task/\d+/)?(mem|environ|auxv|pagemap|syscall|stack|clear_refs)"
        r"|kcore|kmsg|vmcore|keys|key-users|kpage\w+|sysrq-trigger|bus/.*|acpi/.*"
        r"|sys/.*(fastopen_key|stable_secret|_key))"
    ),
    SYSFS: re.compile(
        r".*/(resource\d+\w*|rom|config|vpd|legacy_io|legacy_mem|eeprom|nvmem|rng-seed)"
    ),
    # Closing free_buffer throws the trace away.
    TRACEFS: re.compile(r".*/(free_buffer|snapshot_raw)"),
}

CONFIGURATIONS = ("/boot/config-{0}", "/lib/modules/{0}/config", "/usr/lib/modules/{0}/config")
"""Where distributions keep the configuration of a kernel, by its release."""

_PERF_MAP = re.compile(r"/proc/(\d+)/root/(tmp)/(perf-\d+\.map)")
"""Names of what JIT compilers made, as tools/perf/Documentation/jit-interface.txt has it."""

_PERF_MAP_LINE = re.compile(rb"(0x)?[0-9a-fA-F]+ [0-9a-fA-F]+ ")

_WHAT = "a file of /proc, /sys or tracefs, or an ELF file of a system folder or of a process"


@dataclass(frozen=True)
class Place:
    """What an opened descriptor is, in the kernel's own words."""

    fd: int
    file_system: int
    path: str
    status: os.stat_result
    # The mount it was reached through; None: one of another mount namespace.
    mount: mounts.MountPoint | None

    @property
    def is_kernel(self) -> bool:
        """Whether the kernel makes the content, and the path within is the whole path."""
        found = self.mount
        return self.file_system in _KERNEL and found is not None and found.root == "/"

    @property
    def is_system(self) -> bool:
        """Whether it stands in a folder of libraries or programs."""
        return self.mount is not None and f"{self.path}/".startswith(SYSTEM_FOLDERS)


@contextlib.contextmanager
def opened(path: str, *, follow: bool = True) -> Iterator[Place]:
    """The file behind a path, opened without reading and not judged yet.

    Raises InvalidArgument, NotFound, PermissionMissing or KernelError.
    """
    _check(path)
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        perf_map = _PERF_MAP.fullmatch(path)
        fd = _open_perf_map(perf_map) if perf_map else os.open(path, flags)
    except OSError as error:
        raise _failure(path, error) from None
    try:
        place = os.readlink(f"/proc/self/fd/{fd}")
        yield Place(fd, _file_system(fd), place, os.fstat(fd), _mount_of(fd))
    finally:
        os.close(fd)


def _check(path: str) -> None:
    if not path.startswith("/"):
        raise InvalidArgument("path", "must be absolute")
    if len(path.encode(errors="surrogateescape")) > 4095 or "\0" in path:
        raise InvalidArgument("path", "must have less than 4096 bytes and none that is 0")
    if ".." in path.split("/"):
        raise InvalidArgument("path", "must not contain '..'")


def _failure(path: str, error: OSError) -> Exception:
    if not f"{path}/".startswith(("/proc/", "/sys/", *SYSTEM_FOLDERS)):
        # Nobody learns from here which other files there are.
        return PermissionMissing(_WHAT, action=f"reading {path}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
        return NotFound("file", path)
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionMissing("CAP_SYS_PTRACE or more", action=f"opening {path}")
    return KernelError(f"opening {path}", error.errno or 0)


def check_visible(place: Place, asked: str) -> None:
    """Refuses what may not even be looked at. Raises PermissionMissing."""
    if place.is_kernel or place.file_system == NSFS:
        return
    if stat.S_ISREG(place.status.st_mode):
        check_readable(place, asked)
    elif not place.is_system:
        raise PermissionMissing(_WHAT, action=f"looking at {asked}")


def check_readable(place: Place, asked: str) -> None:
    """Refuses what may not be read. Raises PermissionMissing or InvalidArgument."""
    if not stat.S_ISREG(place.status.st_mode):
        kind = "a folder" if stat.S_ISDIR(place.status.st_mode) else "no regular file"
        raise InvalidArgument("path", f"{asked} is {kind}")
    if place.file_system == TRACEFS and os.path.basename(place.path).startswith("trace_pipe"):
        raise InvalidArgument(
            "path", f"reading {asked} takes lines away and waits: use Events.TracePipe"
        )
    if place.is_kernel:
        denied = _DENIED.get(place.file_system)
        if denied is not None and denied.fullmatch(_inside(place)):
            raise PermissionMissing("another file", action=f"reading {asked} is refused; it")
        return
    if _is_configuration(place) or _is_perf_map(place, asked):
        return
    if not _is_elf(place) or not (place.is_system or _is_mapped(place, asked)):
        raise PermissionMissing(_WHAT, action=f"reading {asked}")


def _is_configuration(place: Place) -> bool:
    """Whether it is the running kernel's configuration, and readable for all there."""
    release = os.uname().release
    paths = [path.format(release) for path in CONFIGURATIONS]
    return (
        place.mount is not None
        and place.path in paths
        and place.status.st_uid == 0
        and bool(place.status.st_mode & stat.S_IROTH)
    )


def _open_perf_map(path: re.Match[str]) -> int:
    """Opens it step by step, as a link in a container would lead to files of the host."""
    flags = os.O_PATH | os.O_CLOEXEC
    folder = os.open(f"/proc/{path[1]}/root", flags | os.O_DIRECTORY)
    for name, more in ((path[2], os.O_DIRECTORY), (path[3], 0)):
        try:
            found = os.open(name, flags | more | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
        folder = found
    return folder


def _is_perf_map(place: Place, asked: str) -> bool:
    """Whether it is a perf map that the process itself could have written.

    Whoever can make a mount namespace can put any file under that name: it must belong to
    the user that the process is of, in every respect (not merely to that of a program with
    the setuid bit), have no other name, and look like a perf map.
    """
    path = _PERF_MAP.fullmatch(asked)
    if path is None or place.status.st_nlink != 1:
        return False
    if processes.users(int(path[1])) != {place.status.st_uid}:
        return False
    try:
        fd = reopen(place)
    except OSError:
        return False
    try:
        return _PERF_MAP_LINE.match(os.pread(fd, 64, 0)) is not None
    finally:
        os.close(fd)


def _inside(place: Place) -> str:
    """The path within the file system, wherever that is mounted."""
    return place.path.removeprefix((place.mount.path if place.mount else "").rstrip("/"))


def _is_elf(place: Place) -> bool:
    try:
        fd = reopen(place)
    except OSError:
        return False
    try:
        return is_elf(fd)
    finally:
        os.close(fd)


def _is_mapped(place: Place, asked: str) -> bool:
    """Whether a process has it mapped to run it; the one that the path names comes first."""
    named = re.match(r"/proc/(\d+)/", asked)
    first = [int(named.group(1))] if named else []
    for pid in (*first, *processes.pids()):
        for mapping, _ in processes.executable_mappings(pid):
            if mapping.inode != place.status.st_ino:
                continue
            # The device in maps is not that of stat on overlay and btrfs.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(processes.map_file(pid, mapping)), place.status):
                    return True
    return False


def reopen(place: Place) -> int:
    """A descriptor that reads what `place` is; the same file, whatever the path is now.

    Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(f"/proc/self/fd/{place.fd}", flags)


def _mount_of(fd: int) -> mounts.MountPoint | None:
    with open(f"/proc/self/fdinfo/{fd}") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    number = int(fields["mnt_id"])
    return next((mount for mount in mounts.everything() if mount.id == number), None)


def _file_system(fd: int) -> int:
    # struct statfs begins with f_type; 256 bytes hold every variant of the rest.
    buffer = (ctypes.c_ulong * 32)()
    if ctypes.CDLL(None, use_errno=True).fstatfs(fd, buffer) != 0:
        return 0
    return int(buffer[0]) & 0xFFFFFFFF
