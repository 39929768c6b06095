# SPDX-License-Identifier: Apache-2.0
"""Sockets of processes, and programs on sockets (include/uapi/asm-generic/socket.h)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bpfd.kernel.host import read_text
from bpfd.kernel.syscall import libc

SO_DETACH_FILTER, SO_ATTACH_BPF = 27, 50
SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF = 52, 68
_SO_GET_FILTER, _SO_COOKIE = 26, 57
_PIDFD_GETFD = 438
"""System call of Linux 5.6 (9a2cef09c801); all architectures have this number."""
_ETH_P_ALL = 3

NO_FILTER, CLASSIC_FILTER, BPF_FILTER = range(3)
"""What `filter_of` finds."""


@dataclass(frozen=True)
class Identity:
    """A socket, wherever it is open."""

    inode: int
    cookie: int
    """Given once while the machine runs (SO_COOKIE, Linux 4.12)."""


@contextmanager
def of_process(pid: int, fd: int) -> Iterator[int]:
    """An fd of this process for what another has under `fd`, while the block runs.

    Meanwhile the socket does not close. Raises OSError: ESRCH without the process, EBADF
    without the fd, ENOTSOCK for what is no socket, ENOSYS before Linux 5.6.
    """
    own = _taken(pid, fd)
    try:
        yield own
    finally:
        os.close(own)


def _taken(pid: int, fd: int) -> int:
    process = os.pidfd_open(pid)
    try:
        own: int = libc.syscall(ctypes.c_long(_PIDFD_GETFD), process, fd, 0)
        number = ctypes.get_errno()
    finally:
        os.close(process)
    if own < 0:
        raise OSError(number, os.strerror(number))
    if not stat.S_ISSOCK(os.fstat(own).st_mode):
        os.close(own)
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    return own


def identity(fd: int) -> Identity:
    """Which socket it is."""
    with _socket(fd) as made:
        value = made.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
    return Identity(os.fstat(fd).st_ino, int.from_bytes(value, sys.byteorder))


@contextmanager
def found(wanted: Identity, pid: int, fd: int) -> Iterator[int]:
    """`of_process` for a socket that may have moved: to another fd, to a child.

    Searched where it was, then in the whole process, then everywhere. Raises OSError:
    ENOENT when nobody has it open.
    """
    own = _found(wanted, pid, fd)
    try:
        yield own
    finally:
        os.close(own)


def _found(wanted: Identity, pid: int, fd: int) -> int:
    failure: OSError = FileNotFoundError(errno.ENOENT, "the socket is closed")
    for owner, number in _places(wanted.inode, pid, fd):
        try:
            own = _taken(owner, number)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EBADF, errno.ENOTSOCK, errno.EINVAL):
                failure = error
            continue
        if identity(own) == wanted:
            return own
        os.close(own)
    raise failure


def _places(inode: int, pid: int, fd: int) -> Iterator[tuple[int, int]]:
    yield pid, fd
    others = (int(each) for each in os.listdir("/proc") if each.isdigit())
    for owner in (pid, *(each for each in others if each != pid)):
        folder = f"/proc/{owner}/fd"
        try:
            numbers = os.listdir(folder)
        except OSError:
            continue
        for number in numbers:
            try:
                if os.readlink(f"{folder}/{number}") == f"socket:[{inode}]":
                    yield owner, int(number)
            except OSError:
                continue


def everywhere() -> Iterator[tuple[int, int, str]]:
    """(pid, fd, name of the process) of every socket that a process has open, each once."""
    seen: set[str] = set()
    for pid in sorted(int(each) for each in os.listdir("/proc") if each.isdigit()):
        folder = f"/proc/{pid}/fd"
        try:
            numbers = sorted(map(int, os.listdir(folder)))
            comm = read_text(f"/proc/{pid}/comm", 64).rstrip("\n")
        except OSError:
            continue
        for number in numbers:
            try:
                text = os.readlink(f"{folder}/{number}")
            except OSError:
                continue
            if text.startswith("socket:") and text not in seen:
                seen.add(text)
                yield pid, number, comm


def set_program(fd: int, option: int, program: int) -> None:
    """Puts a program on a socket (an SO_ATTACH_* option), in place of the one that is there."""
    with _socket(fd) as made:
        made.setsockopt(socket.SOL_SOCKET, option, program)


def remove_program(fd: int, option: int) -> None:
    """Takes the program away (an SO_DETACH_* option). ENOENT: there is none."""
    with _socket(fd) as made:
        made.setsockopt(socket.SOL_SOCKET, option, 0)


def filter_of(fd: int) -> int:
    """Whether a socket has a filter, and of which kind."""
    size = ctypes.c_uint32(0)  # of what is to be copied; here it comes back in instructions
    if libc.getsockopt(fd, socket.SOL_SOCKET, _SO_GET_FILTER, None, ctypes.byref(size)) == 0:
        return CLASSIC_FILTER if size.value else NO_FILTER
    number = ctypes.get_errno()
    if number == errno.EACCES:  # sk_get_filter(): it has no classic form
        return BPF_FILTER
    raise OSError(number, os.strerror(number))


def filtered_packets(interface: str, program: int) -> int:
    """The fd of a packet socket of an interface of the thread's network namespace.

    No packet gets in past the program, and few are kept: nobody reads them.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, program)
        made.bind((interface, _ETH_P_ALL))
        return made.detach()


@contextmanager
def _socket(fd: int) -> Iterator[socket.socket]:
    """The fd as a socket; Python is told no more than it must know."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
    try:
        yield made
    finally:
        made.detach()
