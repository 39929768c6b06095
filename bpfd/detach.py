# SPDX-License-Identifier: Apache-2.0
"""`bpfd serve --detach`: the daemon goes on behind a command that ends when it is ready.

Nothing of the machine is needed for it: embedded systems often lack setsid(1) and nohup(1).
"""

from __future__ import annotations

import os
import sys

_FIRST_FD, _LAST_FD = 3, 1024
EX_SOFTWARE = 70
"""The daemon ended before it was ready, by a signal (sysexits.h)."""


def detach(log: str) -> tuple[int, int]:
    """Goes on in a process without terminal and session; its output goes to the file `log`.

    Gives (descriptor, 0) in that process: a line written to the descriptor says that it is
    ready. Gives (-1, exit code) in the one that was called, once that has happened or the
    daemon has ended; then its words are written to standard error. Raises OSError when the
    log cannot be written.
    """
    output = os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        _become_quiet(output, writer)
        return writer, 0
    os.close(writer)
    with open(reader, "rb") as ready:
        line = ready.readline()
    if line:
        sys.stdout.write(line.decode())
        sys.stdout.flush()
        return -1, 0
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.lseek(output, 0, os.SEEK_SET)
    while words := os.read(output, 1 << 16):
        os.write(2, words)
    return -1, code if code > 0 else EX_SOFTWARE


def _become_quiet(output: int, writer: int) -> None:
    """Lets go of what the caller has open: an ssh connection ends only with its last pipe."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(_FIRST_FD, writer)
    os.closerange(writer + 1, _LAST_FD)
    os.chdir("/")
