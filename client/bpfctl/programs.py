# SPDX-License-Identifier: Apache-2.0
"""Code of loaded programs, fetched from a target with what is needed to read it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bpfctl.errors import BpfctlError, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection

    from bpfctl.btf import Btf
    from bpfctl.disassembly.machine import MachineCode
    from bpfctl.disassembly.program import Program, Types
    from bpfctl.target import Target
    from bpfd.v1 import common_pb2, programs_pb2

MAX_ADDRESSES = 65536
"""Of the kernel that one call names (protos/bpfd/v1/programs.proto)."""

MAX_RELATED = 256
"""Programs of a call graph."""


def translated(target: Target, program: int | str | common_pb2.ProgramRef) -> Program:
    """The code of a program as the verifier left it; of any program of the kernel.

    Raises NotFound, and PermissionMissing where the kernel hides it.
    """
    return _view(target, fetch(target, program))


@dataclass(frozen=True)
class Related:
    """A program and those that it reaches by tail calls."""

    programs: list[Program]
    """The one that was asked for first."""
    held: dict[int, dict[int, int]]
    """Program ids in prog arrays, by map id and index."""
    left_out: int = 0
    """Programs beyond MAX_RELATED."""


def related(target: Target, program: int | str | common_pb2.ProgramRef) -> Related:
    """A program with all that the prog arrays of it and of theirs hold.

    What vanishes meanwhile is left out.
    """
    from bpfd.v1 import common_pb2

    found = [_view(target, fetch(target, program, symbols=False))]
    held: dict[int, dict[int, int]] = {}
    seen = {found[0].id}
    left_out = 0
    for each in found:  # grows while it is walked
        for entry in each.message.maps:
            if entry.type != common_pb2.MAP_TYPE_PROG_ARRAY or entry.id in held:
                continue
            held[entry.id] = _held(target, entry.id)
            for number in sorted({*held[entry.id].values()} - seen):
                seen.add(number)
                if len(found) >= MAX_RELATED:
                    left_out += 1
                    continue
                with contextlib.suppress(NotFound):
                    found.append(_view(target, fetch(target, number, symbols=False)))
    _name(target, found)
    return Related(found, held, left_out)


def _name(target: Target, programs: list[Program]) -> None:
    """Names of what many programs call, by one walk through the kernel's symbols."""
    addresses = {address for program in programs for address in program.addresses()}
    if addresses:
        wanted = sorted(addresses)[:MAX_ADDRESSES]
        named = fetch(target, programs[0].id, addresses=wanted).symbols
        for program in programs:
            program.message.symbols.extend(named)


def _held(target: Target, map_id: int) -> dict[int, int]:
    """Program ids in a prog array by index."""
    order: Literal["big", "little"] = "big" if target.info().big_endian else "little"
    found: dict[int, int] = {}
    with contextlib.suppress(NotFound):
        for chunk in target.map(map_id).chunks():
            keys, values = bytes(chunk.keys), bytes(chunk.values)
            for at in range(0, 4 * chunk.count, 4):
                index = int.from_bytes(keys[at : at + 4], order)
                found[index] = int.from_bytes(values[at : at + 4], order)
    return {index: number for index, number in found.items() if number}


def machine(target: Target, program: int | str | common_pb2.ProgramRef) -> MachineCode:
    """The machine code of a program, with the names of what of the kernel it calls.

    Raises NotFound, NotSupported for an interpreted program or an unknown architecture, and
    PermissionMissing where the kernel hides it.
    """
    from bpfctl.disassembly.machine import MachineCode

    info = target.info()
    found = fetch(target, program, jited=True, symbols=False)
    view = _view(target, found, jited=True)
    wanted = sorted(MachineCode(view, info.machine, info.pointer_bits).references())
    named = fetch(target, view.id or program, jited=True, addresses=wanted[:MAX_ADDRESSES])
    view = _view(target, named, jited=True)
    return MachineCode(view, info.machine, info.pointer_bits, view.symbols)


def fetch(
    target: Target,
    program: int | str | common_pb2.ProgramRef,
    *,
    jited: bool = False,
    addresses: Collection[int] = (),
    symbols: bool = True,
) -> programs_pb2.DumpProgramResponse:
    """Programs.Dump; `addresses` are those of the kernel whose names are asked for, too.

    Without `symbols` nothing of the kernel has a name, and the answer comes sooner.
    """
    from bpfd.v1 import programs_pb2

    request = programs_pb2.DumpProgramRequest(
        program=target.program_ref(program),
        jited=jited,
        addresses=addresses,
        without_symbols=not symbols,
    )
    return target.rpc.call(target.rpc.programs.Dump, request, "Programs.Dump")


def _view(
    target: Target, message: programs_pb2.DumpProgramResponse, *, jited: bool = False
) -> Program:
    from bpfctl.disassembly.program import Program

    return Program(message, _types(target, message), target.info().big_endian, jited)


def _types(target: Target, message: programs_pb2.DumpProgramResponse) -> Types:
    from bpfctl.disassembly.program import Types

    def of_id(btf_id: int) -> Btf | None:
        try:
            return target.btf.of_id(btf_id) if btf_id else None
        except BpfctlError:
            return None  # gone meanwhile, or not to be read

    def kernel() -> Btf | None:
        try:
            return target.btf.kernel()
        except BpfctlError:
            return None

    return Types(of_id(message.btf_id), kernel, lambda entry: of_id(entry.btf_id))
