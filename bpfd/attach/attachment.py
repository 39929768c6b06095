# SPDX-License-Identifier: Apache-2.0
"""What an attached program is to the rest of the daemon."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from bpfd import errors
from bpfd.attach.failure import refused
from bpfd.kernel import syscall
from bpfd.kernel.constants import AttachType, Cmd, ProgType, name_of
from bpfd.kernel.info import link_info, prog_info
from bpfd.v1 import attach_pb2, links_pb2

ATOMIC = links_pb2.UPDATE_METHOD_ATOMIC
OVERLAP = links_pb2.UPDATE_METHOD_OVERLAP


@dataclass(frozen=True)
class Program:
    """A loaded program. Whoever made it owns the fd and keeps it open."""

    fd: int
    id: int
    name: str
    type: int
    """enum bpf_prog_type."""
    expected_attach_type: int = 0
    """enum bpf_attach_type; 0 also where the type has none."""


@dataclass(frozen=True)
class Named:
    """The link that an attachment is to become."""

    link: str = ""
    pinned: bool = False
    """Whether it outlives the daemon; else it ends with a session."""


class Journal(Protocol):
    """What a later daemon must undo or take over when this one is killed: hooks without
    kernel links."""

    @property
    def program_ids(self) -> tuple[int, ...]:
        """It is ours when it runs one of these: two while they are exchanged."""

    def to_json(self) -> dict[str, Any]:
        """Everything needed, as plain JSON values."""

    def point(self) -> attach_pb2.AttachPoint:
        """Where it is attached."""

    def adopt(self, hook: Hook) -> Attachment | None:
        """The attachment of an earlier daemon; None: it is not there any more."""

    def undo(self) -> None:
        """Removes what is still there and ours; nothing there is no error."""


_AIMED = frozenset({ProgType.TRACING, ProgType.LSM})
"""Types of programs that are loaded for a function, hook, tracepoint or kind of iterator."""


@dataclass(frozen=True)
class Hook:
    """How messages call a hook, and which program types it takes."""

    name: str
    types: frozenset[int]
    capability: str

    def check(self, program: Program) -> None:
        """Raises InvalidArgument unless the program is of the right type."""
        if program.type not in self.types:
            wanted = " or ".join(_type_name(each) for each in sorted(self.types))
            raise errors.InvalidArgument(
                "program",
                f"{program.name} is a program of type {_type_name(program.type)}, "
                f"and {self.name} takes {wanted}",
            )


def hook(name: str, types: Iterable[int], capability: str) -> Hook:
    """A Hook; `capability` is what attaching needs, e.g. "CAP_NET_ADMIN"."""
    return Hook(name, frozenset(types), capability)


def _type_name(number: int) -> str:
    return name_of(ProgType, number) or str(number)


def _attach_name(number: int) -> str:
    return name_of(AttachType, number) or str(number)


class Attachment:
    """An attached program: kernel links, and what it takes to exchange or remove them.

    Not safe to use from two threads at once.
    """

    def __init__(
        self,
        hook: Hook,
        fds: list[int],
        method: str,
        *,
        again: Callable[[Program], Attachment] | None = None,
        pinnable: bool = True,
        journal: Journal | None = None,
        attach_type: int = 0,
    ) -> None:
        """`again` attaches another program to the same point; None: the kernel exchanges
        programs inside the links (BPF_LINK_UPDATE). `attach_type` is what every program
        must have been loaded for, which that command does not check everywhere; 0: nothing.
        """
        self.hook = hook
        self.fds = fds
        """Kernel links: one for most hooks, one for each CPU or thread for perf_event,
        none for clsact."""
        self.method = method
        """What was chosen: "native", "generic", "tcx", "clsact", "perf link", ..."""
        self.pinnable = pinnable
        """Whether `fds` can be pinned; not where the kernel is too old for links."""
        self.journal = journal
        self._again = again
        self._attach_type = attach_type

    def close(self) -> None:
        """Detaches, even where a pin or someone else still holds the link.

        Links to perf events and raw tracepoints cannot be detached so; they go with their
        last holder, and a pin that was removed counts as one until an RCU grace period is
        over (bpf_free_inode in kernel/bpf/inode.c).
        """
        if self._again is None:
            for fd in self.fds:
                with contextlib.suppress(OSError):
                    syscall.link_detach(fd)
        self.release()

    def release(self) -> None:
        """Lets go of the fds and undoes nothing else: clsact filters stay."""
        while self.fds:
            os.close(self.fds.pop())

    def running(self) -> list[int]:
        """Kernel ids of the programs that it runs: one, but for a kill amid an exchange."""
        return [link_info(fd).prog_id for fd in self.fds]

    def complete(self, point: attach_pb2.AttachPoint) -> None:
        """Adds to a point that was found by the links what they do not tell."""

    def journal_for(self, program: Program) -> Journal | None:
        """The journal to write before `update(program)`, so that a daemon that starts
        after a crash in the middle finds either program."""
        return self.journal

    def check(self, program: Program) -> None:
        """Raises InvalidArgument unless the program may take the place of the attached one."""
        self.hook.check(program)
        if program.expected_attach_type and self._attach_type not in (
            0,
            program.expected_attach_type,
        ):
            raise errors.InvalidArgument(
                "program",
                f"{program.name} was loaded for {_attach_name(program.expected_attach_type)}, "
                f"and the link is of {_attach_name(self._attach_type)}",
            )
        if self.hook.types <= _AIMED and self.fds:
            self._check_aim(program)

    def _check_aim(self, program: Program) -> None:
        """Where the kernel fixed a function when it loaded the program, a link stays on it."""
        try:
            old = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, link_info(self.fds[0]).prog_id)
        except OSError:
            return
        try:
            was, wanted = prog_info(old), prog_info(program.fd)
        finally:
            os.close(old)
        known = was.attach_btf_obj_id  # 0: a function of a program, which went to the link
        if known and (known, was.attach_btf_id) != (
            wanted.attach_btf_obj_id,
            wanted.attach_btf_id,
        ):
            name = was.name.decode(errors="replace")
            raise errors.InvalidArgument(
                "program",
                f"{program.name} was loaded for something else than {name}, which is attached; "
                "detach that, and attach it there",
            )

    def update(self, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """Another program in place of the attached one; when it raises, the old one stays.

        Nothing happens when the program is the attached one. ATOMIC keeps `fds`. OVERLAP
        replaces them: pins of the old links must be replaced by pins of the new ones.
        """
        self.check(program)
        if self._runs(program):
            return ATOMIC
        if self._again is not None:
            new = self._again(program)
            old, self.fds, self.method = self.fds, new.fds, new.method
            while old:
                os.close(old.pop())
            return OVERLAP
        for fd in self.fds:
            try:
                syscall.link_update(fd, program.fd)
            except OSError as error:
                raise refused(
                    error,
                    f"replacing the program of {self.hook.name}",
                    self.hook.capability,
                    {
                        "ENOLINK": "what it was attached to is gone; detach it",
                        "EINVAL": "the two programs were loaded with different attach types",
                    },
                ) from None
        return ATOMIC

    def _runs(self, program: Program) -> bool:
        """Whether there is nothing to exchange."""
        if not self.pinnable or not self.fds:
            return False
        return all(link_info(fd).prog_id == program.id for fd in self.fds)
