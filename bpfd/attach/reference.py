# SPDX-License-Identifier: Apache-2.0
"""Maps and programs that an attach point names, opened.

Names of objects of this daemon have become kernel ids before a hook sees them
(`bpfd.objects.resolving`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpfd import errors
from bpfd.attach.failure import refused
from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd
from bpfd.v1 import common_pb2


@contextmanager
def opened_map(reference: common_pb2.MapRef, field: str) -> Iterator[int]:
    """The fd of a map while the block runs; `field` is what an error names.

    Raises InvalidArgument, NotFound, PermissionMissing, KernelError.
    """
    if reference.WhichOneof("ref") != "id":
        raise errors.InvalidArgument(field, "say which map")
    fd = _opened("map", Cmd.MAP_GET_FD_BY_ID, reference.id)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_program(reference: common_pb2.ProgramRef, field: str) -> Iterator[int]:
    """The fd of a program while the block runs; raises as `opened_map`."""
    if reference.WhichOneof("ref") != "id":
        raise errors.InvalidArgument(field, "say which program")
    fd = _opened("program", Cmd.PROG_GET_FD_BY_ID, reference.id)
    try:
        yield fd
    finally:
        os.close(fd)


def _opened(kind: str, command: int, number: int) -> int:
    try:
        return syscall.fd_by_id(command, number)
    except FileNotFoundError:
        raise errors.NotFound(kind, f"id {number}", hint="it is gone") from None
    except OSError as error:
        raise refused(error, f"opening {kind} {number}", "CAP_SYS_ADMIN") from None
