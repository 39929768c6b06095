# SPDX-License-Identifier: Apache-2.0
"""An interface that nothing comes through, for XDP programs under test.

A BPF_PROG_TEST_RUN that repeats an XDP program (`repeat` > 1) takes some 20 ms where that is
attached nowhere: the kernel puts it into its dispatcher and takes it out again, each time
waiting for RCU (bpf_prog_change_xdp() of bpf_prog_test_run_xdp() in net/bpf/test_run.c).
A program that is attached anywhere is there already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpfd.kernel import netns, syscall
from bpfd.kernel.constants import XDP_FLAGS_SKB_MODE, AttachType, ProgType

_LOOPBACK = 1
"""Index of the one interface that every new network namespace has, and which is down."""

_WORTH_IT = 2
"""Calls from which on attaching (some 20 ms) pays."""


@contextmanager
def attached(program_fd: int, program_type: int, calls: int, repeat: int) -> Iterator[bool]:
    """An XDP program that is to be run by many calls that repeat it is attached to the
    loopback interface of an empty network namespace.

    Yields whether it is. Others, and where this is not allowed or not possible (no
    CAP_SYS_ADMIN, a program for a devmap, a kernel before 5.9), just run more slowly.
    """
    if program_type != ProgType.XDP or repeat < 2 or calls < _WORTH_IT:
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
