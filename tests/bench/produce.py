# SPDX-License-Identifier: Apache-2.0
"""Runs the producer program for some seconds: `produce.py PROGRAM_ID SECONDS INTERVAL_NS`.

Prints when it began and ended (CLOCK_MONOTONIC) as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import time

from bpfd.kernel import attributes, syscall
from bpfd.kernel.constants import Cmd

_ROUND = 1 << 16


def main(program_id: int, seconds: float, interval: int) -> None:
    os.sched_setaffinity(0, {0})
    fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program_id)
    context = struct.pack("=QQ", _ROUND, interval)
    buffer = ctypes.create_string_buffer(context, len(context))
    attr = attributes.TestRun(
        prog_fd=fd, ctx_in=ctypes.addressof(buffer), ctx_size_in=len(context)
    )
    begin = now = time.monotonic()
    while now < begin + seconds:
        syscall.bpf(Cmd.PROG_TEST_RUN, attr)
        now = time.monotonic()
    print(json.dumps({"begin": begin, "end": now}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
