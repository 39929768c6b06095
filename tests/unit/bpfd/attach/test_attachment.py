# SPDX-License-Identifier: Apache-2.0
"""Closing, releasing and exchanging without a kernel."""

from __future__ import annotations

import os

import pytest

from bpfd import errors
from bpfd.attach.attachment import OVERLAP, Attachment, Program, hook
from bpfd.kernel.constants import ProgType

HOOK = hook("tracepoint", {ProgType.TRACEPOINT}, "CAP_PERFMON")
PROGRAM = Program(fd=-1, id=5, name="p", type=ProgType.TRACEPOINT)


def opened() -> int:
    return os.open("/dev/null", os.O_RDONLY)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_close_closes_all_once() -> None:
    fds = [opened(), opened()]
    attachment = Attachment(HOOK, list(fds), "perf link", pinnable=False)
    attachment.close()
    attachment.close()
    assert attachment.fds == []
    assert not any(map(is_open, fds))


def test_update_closes_the_old_after_the_new() -> None:
    old, new = opened(), opened()

    def again(program: Program) -> Attachment:
        assert program is PROGRAM
        assert is_open(old)
        return Attachment(HOOK, [new], "perf ioctl", pinnable=False)

    attachment = Attachment(HOOK, [old], "perf link", again=again, pinnable=False)
    assert attachment.update(PROGRAM) == OVERLAP
    assert (attachment.fds, attachment.method) == ([new], "perf ioctl")
    assert is_open(new)
    assert not is_open(old)
    attachment.close()


def test_update_that_fails_keeps_the_old() -> None:
    def again(_: Program) -> Attachment:
        raise errors.KernelError("attaching", 12)

    old = opened()
    attachment = Attachment(HOOK, [old], "perf link", again=again, pinnable=False)
    with pytest.raises(errors.KernelError):
        attachment.update(PROGRAM)
    assert attachment.fds == [old]
    assert is_open(old)
    attachment.close()


def test_wrong_type_is_told_before_anything_happens() -> None:
    attachment = Attachment(HOOK, [], "perf link", again=lambda _: pytest.fail("called"))
    wrong = Program(fd=-1, id=6, name="q", type=ProgType.XDP)
    with pytest.raises(errors.InvalidArgument) as caught:
        attachment.update(wrong)
    assert caught.value.why == "q is a program of type xdp, and tracepoint takes tracepoint"
