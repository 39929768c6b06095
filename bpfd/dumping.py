# SPDX-License-Identifier: Apache-2.0
"""The code of any loaded program, with what is needed to read it: maps, symbols, lines."""

from __future__ import annotations

import os
import struct
import sys

from bpfd import listing
from bpfd.errors import InvalidArgument, NotSupported, PermissionMissing
from bpfd.kernel import program_dump, symbol_names, syscall
from bpfd.kernel.constants import Cmd
from bpfd.kernel.info import prog_info, prog_map_ids
from bpfd.maps.listing import describe
from bpfd.objects.registry import Registry
from bpfd.v1 import common_pb2, programs_pb2

MAX_ADDRESSES = 65536
SEES_ADDRESSES = "CAP_SYSLOG and kernel.kptr_restrict of 0 or 1"

_CALL = 0x85
_LD_IMM64 = 0x18
_BY_ID = (1, 2)
"""BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE: a dump has the map's id."""


def dump(
    registry: Registry, request: programs_pb2.DumpProgramRequest
) -> programs_pb2.DumpProgramResponse:
    """Translated or jited code. Raises NotFound, PermissionMissing and NotSupported."""
    if len(request.addresses) > MAX_ADDRESSES:
        raise InvalidArgument("addresses", f"at most {MAX_ADDRESSES}")
    with registry.program(request.program) as (program, _):
        found = program_dump.dump(program.fd, jited=request.jited)
        _check(found, program.name, request.jited)
        info = prog_info(program.fd)
        message = listing.program_message(program.fd, info, registry.program_members())
        maps = _maps(registry, prog_map_ids(program.fd, info))
    base = 0 if found.addresses_hidden else symbol_names.call_base()
    addresses = {*request.addresses, *found.function_addresses}
    if not request.jited and base:
        addresses |= referred(found.code, base)
    without = found.addresses_hidden or request.without_symbols
    symbols = [] if without else symbol_names.named(addresses)
    return programs_pb2.DumpProgramResponse(
        code=found.code,
        function_addresses=found.function_addresses,
        function_sizes=found.function_sizes,
        func_info=found.func_info,
        func_info_record_size=found.func_info_record_size,
        line_info=found.line_info,
        line_info_record_size=found.line_info_record_size,
        jited_line_addresses=found.jited_line_addresses if request.jited else [],
        btf_id=found.btf_id,
        program=message,
        maps=maps,
        symbols=[
            programs_pb2.KernelSymbol(address=each.address, name=each.name, module=each.module)
            for each in symbols
        ],
        call_base=base,
        addresses_hidden=found.addresses_hidden,
    )


def referred(code: bytes, call_base: int) -> set[int]:
    """Kernel addresses that translated code calls or holds.

    Calls are relative to `call_base` in 32 bits with sign, also where pointers have 32.
    """
    mask = 2**64 - 1 if call_base >> 32 else 2**32 - 1
    found = set()
    instructions = struct.iter_unpack("=BBhi", code[: len(code) // 8 * 8])
    for opcode, registers, _, immediate in instructions:
        source = registers >> 4 if sys.byteorder == "little" else registers & 0xF
        if opcode == _CALL and source != 1:
            found.add(call_base + immediate & mask)
        elif opcode == _LD_IMM64:
            following = next(instructions, None)
            if following is not None and source not in _BY_ID:
                found.add(immediate & 0xFFFFFFFF | (following[3] & 0xFFFFFFFF) << 32)
    return found


def _check(found: program_dump.ProgramDump, name: str, jited: bool) -> None:
    """Says why there is no code."""
    if found.code:
        return
    action = f"reading the {'machine' if jited else 'translated'} code of program {name}"
    if not found.translated_bytes:
        raise PermissionMissing("CAP_BPF, or CAP_SYS_ADMIN before Linux 5.8,", action=action)
    if jited and not found.code_bytes:
        raise NotSupported(
            f"machine code of program {name}",
            needs="it is interpreted; with net.core.bpf_jit_enable=1 programs that are loaded"
            " then are compiled",
        )
    if not jited:
        action += ", whose constants are blinded (net.core.bpf_jit_harden)"
    raise PermissionMissing(SEES_ADDRESSES, action=action)


def _maps(registry: Registry, ids: list[int]) -> list[common_pb2.KernelMap]:
    members = registry.map_members()
    found = []
    for number in ids:
        try:
            fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, number)
        except OSError:
            continue  # a program that is being freed
        try:
            found.append(describe(fd, members.get(number)))
        finally:
            os.close(fd)
    return found
