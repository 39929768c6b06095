# SPDX-License-Identifier: Apache-2.0
"""The tracefs file that bpf_printk() writes to."""

from __future__ import annotations

import errno
import os

from bpfd.errors import AttachBusy, KernelError, NotSupported
from bpfd.kernel.host import read_text
from bpfd.kernel.mounts import ensure_tracefs

_CHUNK = 64 << 10


class TracePipe:
    """The reader of trace_pipe; what it reads nobody else gets.

    Polling does not help: the file counts as readable only when half of the trace buffer is
    full (buffer_percent), so it is read at intervals.
    """

    def __init__(self) -> None:
        """Raises NotSupported, PermissionMissing, AttachBusy or KernelError."""
        top = ensure_tracefs()
        path = f"{top}/trace_pipe"
        if read_text(f"{top}/tracing_on", 16).strip() == "0":
            raise NotSupported(
                "reading bpf_printk() output while tracing is switched off",
                needs=f"echo 1 > {top}/tracing_on on the target",
            )
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise AttachBusy("trace_pipe", "another reader of it on the target") from None
            raise KernelError(f"opening {path}", error.errno or 0) from None
        self._rest = b""

    def read(self) -> bytes:
        """The whole lines that were written since, at most a few megabytes."""
        parts = [self._rest]
        for _ in range(64):
            try:
                chunk = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                break
            if not chunk:
                break
            parts.append(chunk)
        lines, newline, self._rest = b"".join(parts).rpartition(b"\n")
        return lines + newline

    def close(self) -> None:
        """Ends reading."""
        os.close(self._fd)
