# SPDX-License-Identifier: Apache-2.0
"""What is said of a test run that the kernel refused."""

from __future__ import annotations

import errno

import pytest

from bpfd import test_runs
from bpfd.attach.attachment import Program
from bpfd.errors import InvalidArgument, KernelError, NotSupported
from bpfd.kernel.constants import ENOTSUPP, AttachType, ProgType
from bpfd.v1 import programs_pb2


def explained(
    number: int, kind: int = ProgType.XDP, data: bytes = bytes(64), attach_type: int = 0
) -> Exception:
    program = Program(3, 7, "test", kind, attach_type)
    return test_runs._explained(OSError(number, ""), program, data)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (explained(errno.EINVAL, data=b"short"), KernelError, "at least 14 bytes, this one 5"),
        (explained(errno.EINVAL, data=bytes(9000)), KernelError, "9000 bytes may be too large"),
        (explained(errno.ENODEV), KernelError, "network namespace"),
        (explained(errno.EAFNOSUPPORT, ProgType.SK_LOOKUP), KernelError, "2 is IPv4"),
        (explained(ENOTSUPP, ProgType.KPROBE), NotSupported, "kprobe programs: attach test"),
        (explained(errno.EFAULT, ProgType.TRACING), NotSupported, "fentry, fexit and fmod_ret"),
        (
            explained(errno.EINVAL, attach_type=AttachType.XDP_CPUMAP),
            NotSupported,
            "devmap or cpumap",
        ),
        (explained(errno.EPERM), KernelError, "test run of xdp program test"),
        (explained(errno.EINVAL, 99), KernelError, "type 99 program"),
    ],
)
def test_reasons(error: Exception, kind: type[Exception], words: str) -> None:
    assert isinstance(error, kind)
    assert words in str(error)


def test_sizes_are_checked_before_anything_runs() -> None:
    large = programs_pb2.TestRunRequest(context=bytes(test_runs.MAX_DATA + 1))
    with pytest.raises(InvalidArgument, match="context"):
        test_runs._check(large)
    batch = programs_pb2.TestRunBatchRequest(packets=[b""] * 3, contexts=[b""])
    with pytest.raises(InvalidArgument, match="one for each packet"):
        test_runs._check_batch(batch)
    batch = programs_pb2.TestRunBatchRequest(run=programs_pb2.TestRunRequest(data=b"x"))
    with pytest.raises(InvalidArgument, match="packets of a batch"):
        test_runs._check_batch(batch)
