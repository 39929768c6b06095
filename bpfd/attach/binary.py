# SPDX-License-Identifier: Apache-2.0
"""The binary of a request, found and opened, with errors that help to find it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bpfd import errors
from bpfd.attach.failure import near, refused
from bpfd.kernel import binaries
from bpfd.kernel.elf_image import BadElf
from bpfd.kernel.symbols import ElfFile


@dataclass(frozen=True)
class Binary:
    """An executable or a shared library that was found."""

    file: ElfFile
    path: str
    """As the process sees it that was asked for, else as everyone does."""
    real: str
    """As the kernel opens it: through /proc/PID/root for one process."""


@contextmanager
def opened_binary(binary: str, pid: int, hook: str) -> Iterator[Binary]:
    """A binary while the block runs; BadElf inside the block becomes an error of the binary.

    `binary` is an absolute path or a bare name, `pid` the process whose file system and
    mappings are meant (0: the daemon's), `hook` the message that errors name. Raises
    NotFound, InvalidArgument, PermissionMissing, KernelError.
    """
    if pid and not os.path.isdir(f"/proc/{pid}"):
        raise errors.NotFound("process", str(pid))
    root = f"/proc/{pid}/root" if pid else ""
    path = _path(binary, pid, root, f"{hook}.binary")
    try:
        real = binaries.inside(root, path)
        file = ElfFile(real)
    except BadElf as error:
        raise errors.InvalidArgument(f"{hook}.binary", f"{path} {error}") from None
    except OSError as error:
        raise _unreadable(error, path, root, f"{hook}.binary") from None
    with file:
        try:
            yield Binary(file, path, real)
        except BadElf as error:
            raise errors.InvalidArgument(f"{hook}.binary", f"{path} {error}") from None


def _path(binary: str, pid: int, root: str, field: str) -> str:
    """The absolute path, as seen below `root`."""
    if not binary or "\0" in binary:
        raise errors.InvalidArgument(field, "is empty or has a zero byte")
    if binary.startswith("/"):
        return binary
    if "/" in binary:
        raise errors.InvalidArgument(
            field, "must be an absolute path on the target, or a bare name"
        )
    path = ""
    if pid:
        try:
            path = binaries.mapped(pid, binary)
        except OSError as error:
            raise refused(error, f"reading /proc/{pid}/maps", "CAP_SYS_PTRACE") from None
    if path or (path := binaries.find(binary, root)):
        return path
    names = binaries.names_like(binary, root)
    folders = binaries.folders(binary, root)
    hint = "searched in " + ", ".join(folders[:8])
    raise errors.NotFound("binary", binary, near(binary, names), hint)


def _unreadable(error: OSError, path: str, root: str, field: str) -> errors.BpfdError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        folder, _, name = path.rpartition("/")
        try:
            names = os.listdir(f"{root}{folder}" or "/")
        except OSError:
            names = []
        found = [f"{folder}/{each}" for each in near(name, names)]
        hint = "" if names else f"{folder or '/'} cannot be read either"
        return errors.NotFound("binary", path, found, hint)
    if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
        return errors.InvalidArgument(field, f"{path} is no file")
    return refused(error, f"reading {path}", "CAP_SYS_PTRACE" if root else "CAP_SYS_ADMIN")
