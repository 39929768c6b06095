# SPDX-License-Identifier: Apache-2.0
"""Where executables and shared libraries are, as the loader and the shell would look."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import platform

from bpfd.kernel.host import read_text

_MAX_LINKS = 40
_LIBRARIES = (
    "/usr/local/lib",
    "/usr/local/lib64",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/system/lib64",
    "/system/lib",
    "/apex/com.android.runtime/lib64/bionic",
    "/vendor/lib64",
)
_PROGRAMS = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/system/bin",
    "/vendor/bin",
)


def find(name: str, root: str = "") -> str:
    """The path of a bare name, searched below `root`; "" when it is nowhere.

    The path does not include `root`.
    """
    for folder in folders(name, root):
        path = f"{folder}/{name}"
        with contextlib.suppress(OSError):
            if os.path.isfile(inside(root, path)):
                return path
    return ""


def inside(root: str, path: str) -> str:
    """The file that an absolute path means to a process with this root folder.

    Returns a path of the caller, without symbolic links that would lead out of `root`:
    followed by the kernel, an absolute one would end in the caller's own file system.
    Raises OSError.
    """
    if not root:
        return path
    done: list[str] = []
    left = path.split("/")[::-1]
    links = 0
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        here = "/".join((root, *done, part))
        if not os.path.islink(here):
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(here)
        if target.startswith("/"):
            done.clear()
        left += target.split("/")[::-1]
    return "/".join((root, *done))


def names_like(name: str, root: str = "") -> list[str]:
    """Names in the folders in which `name` is searched, for proposals."""
    found: set[str] = set()
    for folder in folders(name, root):
        try:
            found.update(os.listdir(f"{root}{folder}"))
        except OSError:
            continue
    return sorted(found)


def folders(name: str, root: str = "") -> list[str]:
    """Folders to search: those of libraries for names with ".so", else those of programs.

    Of a library's folders those of the machine's own architecture come first.
    """
    if ".so" in name or name.startswith("lib"):
        triplet = f"{_multiarch()}-linux-"
        multiarch = sorted(
            (each[len(root) :] for each in glob.glob(f"{glob.escape(root)}/usr/lib/*-linux-*")),
            key=lambda path: not os.path.basename(path).startswith(triplet),
        )
        found = [*_loader_folders(root), *multiarch, *_LIBRARIES]
    else:
        own = os.environ.get("PATH", "").split(":") if not root else []
        found = [*(each for each in own if each.startswith("/")), *_PROGRAMS]
    return list(dict.fromkeys(found))


def mapped(pid: int, name: str) -> str:
    """The path of a file with this base name that a process maps; "": none.

    As the process sees it. Raises OSError.
    """
    for line in read_text(f"/proc/{pid}/maps", 16 << 20).splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/"):
            path = fields[5].removesuffix(" (deleted)")
            if os.path.basename(path) == name:
                return path
    return ""


def _multiarch() -> str:
    machine = platform.machine()
    return {"i686": "i386", "armv7l": "arm", "armv8l": "arm"}.get(machine, machine)


def _loader_folders(root: str) -> list[str]:
    """Folders of ld.so.conf(5), includes followed one level deep as distributions do."""
    found: list[str] = []
    pending = [f"{root}/etc/ld.so.conf"]
    for _ in range(64):
        if not pending:
            break
        try:
            lines = read_text(pending.pop(0), 65536).splitlines()
        except OSError:
            continue
        for line in lines:
            word = line.partition("#")[0].strip()
            if word.startswith("include "):
                pattern = word.removeprefix("include ").strip()
                base = pattern if pattern.startswith("/") else f"/etc/{pattern}"
                pending += sorted(glob.glob(f"{glob.escape(root)}{base}"))
            elif word.startswith("/"):
                found.append(word.rstrip("/"))
    return found
