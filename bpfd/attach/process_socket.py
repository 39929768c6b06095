# SPDX-License-Identifier: Apache-2.0
"""What socket_filter and sk_reuseport share: a program on a socket of a process.

The socket is reached through the process (pidfd_getfd, kernel 5.6) and held for a moment
alone, so that it closes when its process closes it. The program stays with the socket
whoever attached it dies: it is written down first (`plan`) for a later daemon to undo or
take over.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bpfd import errors
from bpfd.attach.attachment import Hook, Program
from bpfd.attach.failure import refused
from bpfd.attach.journaled import JournaledAttachment
from bpfd.kernel import sockets
from bpfd.kernel.constants import ENOTSUPP
from bpfd.v1 import attach_pb2

METHOD = "socket option"

FILTER, REUSEPORT = "socket_filter", "sk_reuseport"
_ATTACH = {FILTER: sockets.SO_ATTACH_BPF, REUSEPORT: sockets.SO_ATTACH_REUSEPORT_EBPF}
_DETACH = {FILTER: sockets.SO_DETACH_FILTER, REUSEPORT: sockets.SO_DETACH_REUSEPORT_BPF}
_NUMBERS = ("pid", "fd", "inode", "cookie")
_HINTS = {
    "EINVAL": "it was not bound with SO_REUSEPORT",
    "ENOTSUPP": "TCP and UDP over IP have groups",
    "EPERM": "its process has locked its filter (SO_LOCK_FILTER)",
    "ENOMEM": "the programs of the sockets of that process are above net.core.optmem_max",
}

_lock = threading.Lock()
"""No other thread attaches between a look at the filter that is there and the attaching."""


@dataclass(frozen=True)
class SocketJournal:
    """One program on one socket. `undo` takes it away, if it still may be ours: of a socket
    the kernel tells whether it has a program, not which."""

    hook: str
    pid: int
    fd: int
    inode: int
    cookie: int
    migrate: bool
    program_ids: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        fields = dataclasses.asdict(self)
        return {"kind": "socket", **fields, "program_ids": list(self.program_ids)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SocketJournal:
        """Raises ValueError for what `to_json` did not write."""
        names = {each.name for each in dataclasses.fields(cls)}
        if set(data) - {"kind"} != names or data["hook"] not in _ATTACH:
            raise ValueError("not the journal of a socket")
        fields = {name: data[name] for name in names}
        fields["program_ids"] = tuple(fields["program_ids"])
        numbers = (*(fields[name] for name in _NUMBERS), *fields["program_ids"])
        if not all(isinstance(each, int) and 0 <= each < 1 << 64 for each in numbers):
            raise ValueError("its numbers are none")
        return cls(**fields)

    def point(self) -> attach_pb2.AttachPoint:
        """The socket as its process has it."""
        place = attach_pb2.SocketOfProcess(pid=self.pid, fd=self.fd)
        if self.hook == FILTER:
            named = attach_pb2.SocketFilter(process_socket=place)
            return attach_pb2.AttachPoint(socket_filter=named)
        group = attach_pb2.SkReuseport(socket=place, migrate=self.migrate)
        return attach_pb2.AttachPoint(sk_reuseport=group)

    def adopt(self, hook: Hook) -> SocketAttachment | None:
        """The attachment of an earlier daemon; None when it is not there any more."""
        try:
            with self.opened() as fd:
                there = self.may_be_there(fd)
        except errors.NotFound:
            return None
        return SocketAttachment(hook, self) if there else None

    def undo(self) -> None:
        """A socket that is closed is no error. Raises KernelError, PermissionMissing."""
        try:
            with self.opened() as fd:
                if self.may_be_there(fd):
                    sockets.remove_program(fd, _DETACH[self.hook])
        except (errors.NotFound, FileNotFoundError):
            return
        except OSError as error:
            raise refused(error, f"detaching from {self}", "CAP_SYS_PTRACE", _HINTS) from None

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The socket while the block runs. Raises NotFound when nobody has it open."""
        manager = sockets.found(sockets.Identity(self.inode, self.cookie), self.pid, self.fd)
        try:
            fd = manager.__enter__()
        except FileNotFoundError:
            raise errors.NotFound("socket", str(self), hint="it was closed") from None
        except OSError as error:
            raise refused(error, f"opening {self}", "CAP_SYS_PTRACE") from None
        try:
            yield fd
        finally:
            manager.__exit__(None, None, None)

    def may_be_there(self, fd: int) -> bool:
        """False: surely not. A group of sockets tells nothing."""
        return self.hook == REUSEPORT or sockets.filter_of(fd) == sockets.BPF_FILTER

    def __str__(self) -> str:
        return f"fd {self.fd} of process {self.pid}"


class SocketAttachment(JournaledAttachment[SocketJournal]):
    """A program on a socket."""

    def __init__(self, hook: Hook, journal: SocketJournal) -> None:
        super().__init__(hook, METHOD, journal)

    def replace(self, program: Program) -> None:
        """The kernel switches from one packet to the next."""
        with entered(self.entry) as fd, _lock:
            if not self.entry.may_be_there(fd):
                raise errors.NotFound("filter", str(self.entry), hint="someone removed it")
            sockets.set_program(fd, _ATTACH[self.entry.hook], program.fd)


def plan(
    hook: Hook, program: Program, place: attach_pb2.SocketOfProcess, *, migrate: bool = False
) -> SocketJournal:
    """What `attach` is going to do. Touches nothing.

    Raises NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    if not place.pid:
        raise errors.InvalidArgument(f"{hook.name}.pid", "say which process, and which fd")
    with opened_socket(place) as fd:
        which = sockets.identity(fd)
    return SocketJournal(
        hook.name, place.pid, place.fd, which.inode, which.cookie, migrate, (program.id,)
    )


@contextmanager
def opened_socket(place: attach_pb2.SocketOfProcess) -> Iterator[int]:
    """A socket of a process, as an fd of the daemon, while the block runs.

    Raises NotFound, InvalidArgument, NotSupported, PermissionMissing, KernelError.
    """
    manager = sockets.of_process(place.pid, place.fd)
    try:
        fd = manager.__enter__()
    except OSError as error:
        raise _not_open(error, place) from None
    try:
        yield fd
    finally:
        manager.__exit__(None, None, None)


def attach(hook: Hook, program: Program, journal: SocketJournal) -> SocketAttachment:
    """Does what the journal says. Raises AttachBusy for a socket that has a filter; of a
    group of sockets the kernel does not tell, and its program is replaced."""
    with entered(journal) as fd, _lock:
        if hook.name == FILTER and (there := sockets.filter_of(fd)) != sockets.NO_FILTER:
            kind = "a classic filter" if there == sockets.CLASSIC_FILTER else "a program"
            raise errors.AttachBusy(str(journal), f"{kind} of its process or someone else")
        sockets.set_program(fd, _ATTACH[hook.name], program.fd)
    return SocketAttachment(hook, journal)


@contextmanager
def entered(journal: SocketJournal) -> Iterator[int]:
    """The socket while the block sets its program; the block's OSError becomes an error."""
    with journal.opened() as fd:
        try:
            yield fd
        except OSError as error:
            operation = f"attaching {journal.hook} to {journal}"
            if error.errno == ENOTSUPP:
                raise errors.InvalidArgument(
                    f"{journal.hook}.fd", f"{journal}: {_HINTS['ENOTSUPP']}"
                ) from None
            raise refused(error, operation, "CAP_NET_ADMIN", _HINTS) from None


def _not_open(error: OSError, place: attach_pb2.SocketOfProcess) -> errors.BpfdError:
    what = f"fd {place.fd} of process {place.pid}"
    match error.errno:
        case errno.ESRCH:
            return errors.NotFound("process", str(place.pid))
        case errno.EBADF:
            open_sockets = _sockets_of(place.pid)
            hint = f"its sockets are {', '.join(open_sockets) or 'none'}"
            return errors.NotFound("file descriptor", what, hint=hint)
        case errno.ENOTSOCK:
            return errors.InvalidArgument("fd", f"{what} is no socket")
        case errno.ENOSYS:
            return errors.NotSupported("sockets of other processes", since="5.6")
    return refused(error, f"opening {what}", "CAP_SYS_PTRACE")


def _sockets_of(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    found = []
    try:
        for number in sorted(map(int, os.listdir(folder))):
            if os.readlink(f"{folder}/{number}").startswith("socket:"):
                found.append(str(number))
    except OSError:
        pass
    return found[:20]
