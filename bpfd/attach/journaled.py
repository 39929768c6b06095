# SPDX-License-Identifier: Apache-2.0
"""Attachments without a kernel link: a journal stands for what is attached."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from bpfd.attach.attachment import ATOMIC, Attachment, Hook, Journal, Program
from bpfd.v1 import links_pb2


class Entry(Journal, Protocol):
    """A journal that is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


_Entry = TypeVar("_Entry", bound=Entry)


class JournaledAttachment(Attachment, Generic[_Entry]):
    """No fds and no pins: what is attached stays there whoever dies, until it is undone."""

    def __init__(
        self, hook: Hook, method: str, journal: _Entry, *, attach_type: int = 0
    ) -> None:
        super().__init__(
            hook, [], method, pinnable=False, journal=journal, attach_type=attach_type
        )
        self.entry = journal
        self._attached = True

    def close(self) -> None:
        """Raises KernelError or PermissionMissing; then it is there."""
        if self._attached:
            self.entry.undo()
            self._attached = False

    def release(self) -> None:
        """Leaves it where it is, for a later daemon to adopt or undo."""
        self._attached = False

    def journal_for(self, program: Program) -> _Entry:
        """The journal to write before `update(program)`: it means both programs."""
        return self._with(*self.entry.program_ids, program.id)

    def update(self, program: Program) -> links_pb2.UpdateMethod.ValueType:
        """Exchanges the program; the kernel does that at once.

        Raises NotFound when it is not there any more, and KernelError.
        """
        self.check(program)
        self.replace(program)
        self.entry = self._with(program.id)
        self.journal = self.entry
        return ATOMIC

    def _with(self, *program_ids: int) -> _Entry:
        return dataclasses.replace(self.entry, program_ids=program_ids)

    @abstractmethod
    def replace(self, program: Program) -> None:
        """Puts the program in the attached one's place."""
