# SPDX-License-Identifier: Apache-2.0
"""The code of any loaded program."""

from __future__ import annotations

from bpfd.errors import PermissionMissing
from bpfd.kernel import program_dump
from bpfd.objects.registry import Registry
from bpfd.v1 import programs_pb2


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
