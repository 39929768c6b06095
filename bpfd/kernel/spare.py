# SPDX-License-Identifier: Apache-2.0
"""An interface that nothing comes through, for XDP programs under test.

BPF_PROG_TEST_RUN of an XDP program that is attached nowhere takes some 20 ms: the kernel puts
the program into its dispatcher and takes it out again, each time waiting for RCU
(bpf_prog_change_xdp() in kernel/bpf/dispatcher.c). A program that is attached anywhere is
there already, and runs in microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpfd.kernel import netns, syscall
from bpfd.kernel.constants import XDP_FLAGS_SKB_MODE, AttachType, ProgType

_LOOPBACK = 1
"""Index of the one interface that every new network namespace has, and which is down."""

_WORTH_IT = 3
"""Runs from which on attaching (some 20 ms) pays."""


@contextmanager
def attached(program_fd: int, program_type: int, runs: int) -> Iterator[bool]:
    """An XDP program is attached to the loopback interface of an empty network namespace.

    Yields whether it is. Others, and where this is not allowed or not possible (no
    CAP_SYS_ADMIN, a program for a devmap, a kernel before 5.9), just run more slowly.
    """
    if program_type != ProgType.XDP or runs < _WORTH_IT:
        yield False
        return
    try:
        with netns.made():
            namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                link = syscall.link_create(
                    program_fd, _LOOPBACK, AttachType.XDP, XDP_FLAGS_SKB_MODE
                )
            except BaseException:
                os.close(namespace)
                raise
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(link)
        os.close(namespace)
