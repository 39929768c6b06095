# SPDX-License-Identifier: Apache-2.0
"""What tracepoint, uprobe and perf_event share: a program on a perf event."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bpfd import errors
from bpfd.attach.attachment import Hook, Program
from bpfd.attach.failure import refused
from bpfd.kernel import perf_event

PERF_LINK, PERF_IOCTL = "perf link", "perf ioctl"


@dataclass(frozen=True)
class Event:
    """A perf event to be, with what its errors say."""

    hook: Hook
    point: str
    hints: Mapping[str, str] = field(default_factory=dict)

    def open(self, opener: Callable[[], int]) -> int:
        """The event's fd. Raises the daemon's errors for what `opener` raises."""
        try:
            return opener()
        except OSError as error:
            hints = {"EMFILE": "the daemon has too many files open", **self.hints}
            operation = f"opening {self.point}"
            raise refused(error, operation, self.hook.capability, hints) from None

    def link(self, fd: int, program: Program, cookie: int) -> tuple[int, str]:
        """Puts the program on the event and takes the fd over, also when it raises.

        Returns (fd of the attachment, method).
        """
        try:
            link, is_link = perf_event.attach(fd, program.fd, cookie)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP and cookie:
                raise errors.NotSupported("cookies of perf events", since="5.15") from None
            if error.errno == errno.EEXIST:  # bpf_prog_array_copy() takes none twice
                owner = f"program {program.id} ({program.name}) itself"
                raise errors.AttachBusy(self.point, owner, program.id) from None
            if error.errno == errno.E2BIG:
                raise errors.LimitExceeded(
                    f"the number of programs on {self.point}", 64
                ) from None
            operation = f"attaching {program.name} to {self.point}"
            raise refused(error, operation, self.hook.capability, self.hints) from None
        return link, PERF_LINK if is_link else PERF_IOCTL
