# SPDX-License-Identifier: Apache-2.0
"""What can be done with any loaded program: dump it, run it, time it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpfd.errors import InvalidArgument, KernelError, NotSupported, PermissionMissing
from bpfd.kernel import program_dump, syscall
from bpfd.kernel.constants import ENOTSUPP, Cmd, ProgType
from bpfd.kernel.info import prog_info
from bpfd.objects.registry import Registry
from bpfd.v1 import programs_pb2

MAX_TEST_DATA = 16 * 1024 * 1024
_XDP_LIVE_FRAMES = 1 << 1
_NO_CONTEXT_BACK = (ProgType.SYSCALL, ProgType.RAW_TRACEPOINT, ProgType.TRACING)
_ON_CPU = 1 << 0


def dump(
    registry: Registry, request: programs_pb2.DumpProgramRequest
) -> programs_pb2.DumpProgramResponse:
    """Translated or jited code with its line information."""
    with registry.program(request.program) as (program, _):
        found = program_dump.dump(program.fd, jited=request.jited)
    if not found.code:
        raise PermissionMissing(
            "CAP_PERFMON and kernel.kptr_restrict of 0 or 1", action="reading a program's code"
        )
    return programs_pb2.DumpProgramResponse(
        code=found.code,
        function_addresses=found.function_addresses,
        function_sizes=found.function_sizes,
        func_info=found.func_info,
        func_info_record_size=found.func_info_record_size,
        line_info=found.line_info,
        line_info_record_size=found.line_info_record_size,
        jited_line_addresses=found.jited_line_addresses,
        btf_id=found.btf_id,
    )


def test_run(
    registry: Registry, request: programs_pb2.TestRunRequest
) -> programs_pb2.TestRunResponse:
    """BPF_PROG_TEST_RUN of any loaded program."""
    for name in ("data", "context"):
        if len(getattr(request, name)) > MAX_TEST_DATA:
            raise InvalidArgument(name, f"at most {MAX_TEST_DATA} bytes")
    flags = _XDP_LIVE_FRAMES if request.live_frames else 0
    flags |= _ON_CPU if request.HasField("cpu") else 0
    size = request.data_out_size or (len(request.data) + 256 if request.data else 0)
    if request.live_frames:
        size = 0
    with registry.program(request.program) as (program, _):
        try:
            value, nanoseconds, data, context = syscall.prog_test_run(
                program.fd,
                request.data,
                context=request.context,
                repeat=request.repeat,
                data_out_size=min(size, MAX_TEST_DATA),
                flags=flags,
                cpu=request.cpu,
                batch_size=request.batch_size,
                context_back=program.type not in _NO_CONTEXT_BACK,
            )
        except OSError as error:
            if error.errno in (ENOTSUPP, 95):
                raise NotSupported(f"test runs of program {program.name}") from None
            hint = "a packet has at least 14 bytes" if error.errno == 22 else ""
            raise KernelError(
                f"test run of program {program.name}", error.errno or 0, hint
            ) from None
    response = programs_pb2.TestRunResponse(return_value=value, data=data, context=context)
    response.duration.FromNanoseconds(nanoseconds)
    return response


@contextmanager
def statistics() -> Iterator[None]:
    """Run time statistics of all programs are on for the time of the `with`."""
    try:
        fd = syscall.enable_stats()
    except OSError as error:
        raise KernelError("BPF_ENABLE_STATS", error.errno or 0) from None
    try:
        yield
    finally:
        os.close(fd)


def run_times() -> list[programs_pb2.ProgramRunTime]:
    """Nanoseconds and runs of every program, since statistics were first on."""
    found = []
    for number in syscall.ids(Cmd.PROG_GET_NEXT_ID):
        try:
            fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, number)
        except OSError:
            continue  # unloaded meanwhile
        try:
            info = prog_info(fd)
        finally:
            os.close(fd)
        found.append(
            programs_pb2.ProgramRunTime(
                id=number, run_time_ns=info.run_time_ns, run_count=info.run_cnt
            )
        )
    return found
