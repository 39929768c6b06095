# SPDX-License-Identifier: Apache-2.0
"""Locks that a killed process cannot leave behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass


class Held(Exception):
    """Another process has the lock; `pid` is 0 when it cannot be told."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


@dataclass
class LockFile:
    """A file with flock(2) held on it; its content is the pid of the holder."""

    path: str
    handle: int

    def release(self) -> None:
        """Removes the file and gives the lock back."""
        if self.handle >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            os.close(self.handle)
            self.handle = -1


def acquire(path: str) -> LockFile:
    """Takes the lock, without waiting.

    Raises Held, or OSError when the file cannot be made.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(handle, 32, 0).strip()
            os.close(handle)
            raise Held(int(text) if text.isdigit() else 0) from None
        # The holder before us may have removed the file between open and flock.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return LockFile(path, handle)
        os.close(handle)


def lock_folder(path: str) -> int:
    """Takes the lock on a folder; returns the descriptor that holds it.

    Raises Held or OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        inode = os.fstat(handle).st_ino
        os.close(handle)
        raise Held(_holder(inode)) from None
    return handle


def _holder(inode: int) -> int:
    """Pid from /proc/locks: "1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF"."""
    with open("/proc/locks") as file:
        for line in file:
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
                return max(int(fields[4]), 0)
    return 0
