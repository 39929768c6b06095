# SPDX-License-Identifier: Apache-2.0
"""How long and how often programs run: counted by the kernel while somebody looks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.duration_pb2 import Duration

from bpfd.errors import InvalidArgument, KernelError
from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.info import prog_info
from bpfd.listing import each_fd
from bpfd.v1 import programs_pb2

MIN_SECONDS, MAX_SECONDS = 0.1, 3600.0
_DEFAULT_SECONDS = 1.0


def seconds(interval: Duration) -> float:
    """The interval that was asked for. Raises InvalidArgument."""
    asked = interval.seconds + interval.nanos / 1e9
    if asked == 0:
        return _DEFAULT_SECONDS
    if not MIN_SECONDS <= asked <= MAX_SECONDS:
        raise InvalidArgument("interval", f"from {MIN_SECONDS:g} s to {MAX_SECONDS:g} s")
    return asked


@contextmanager
def enabled() -> Iterator[None]:
    """Run time statistics of all programs are on for the time of the `with`.

    The kernel counts who wants them: several may, and the last one turns them off.
    """
    try:
        fd = syscall.enable_stats()
    except OSError as error:
        raise KernelError("BPF_ENABLE_STATS", error.errno or 0) from None
    try:
        yield
    finally:
        os.close(fd)


def sample() -> programs_pb2.ProgramStats:
    """What the kernel has counted for every program so far.

    No file descriptor is kept until the next sample: it would keep a program loaded whose
    owner has let go of it. 200 programs take 1.3 ms.
    """
    found = programs_pb2.ProgramStats(taken_at_ns=time.monotonic_ns())
    with each_fd(Cmd.PROG_GET_NEXT_ID, Cmd.PROG_GET_FD_BY_ID) as fds:
        for fd in fds:
            info = prog_info(fd)
            found.programs.add(
                id=info.id,
                run_time_ns=info.run_time_ns,
                run_count=info.run_cnt,
                recursion_misses=info.recursion_misses,
            )
    return found
