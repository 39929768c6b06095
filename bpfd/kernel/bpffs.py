# SPDX-License-Identifier: Apache-2.0
"""Folders and pins in a bpffs."""

from __future__ import annotations

import contextlib
import os
import re

from bpfd.kernel import syscall


def encode(name: str) -> str:
    """A name as a file name: bpffs keeps names with '.' for itself."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f"={ord(match[0]):02X}", name)


def decode(file_name: str) -> str:
    """The inverse of `encode`."""
    return re.sub(r"=([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), file_name)


def make_folder(path: str) -> None:
    """Makes a folder and those above it."""
    os.makedirs(path, mode=0o700, exist_ok=True)


def pin(fd: int, path: str) -> None:
    """Pins a program, map or link; EEXIST: the path is taken."""
    syscall.obj_pin(fd, path)


def replace_pin(fd: int, path: str) -> None:
    """Puts another program, map or link under a path, with no moment without one."""
    fresh = f"{path}=new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    syscall.obj_pin(fd, fresh)
    os.rename(fresh, path)


def entries(folder: str) -> list[str]:
    """Names in a folder, sorted; an absent folder, and what is none, has none."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_folder(path: str) -> bool:
    """Whether there is a folder of that name."""
    return os.path.isdir(path)


def exists(path: str) -> bool:
    """Whether there is anything of that name."""
    return os.path.lexists(path)


def rename(old: str, new: str) -> None:
    """Moves a folder or pin at once; the kernel does it in one step."""
    os.rename(old, new)


def remove(path: str) -> None:
    """Removes a pin, or a folder and all that is in it; absent things are no error."""
    if os.path.isdir(path) and not os.path.islink(path):
        for name in reversed(entries(path)):
            remove(f"{path}/{name}")
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def remove_empty(path: str) -> None:
    """Removes a folder if there is nothing in it."""
    with contextlib.suppress(OSError):
        os.rmdir(path)
