# SPDX-License-Identifier: Apache-2.0
"""Machine code of a loaded program, disassembled for the target's architecture.

The work is capstone's: one wheel for every workstation knows all architectures that kernels
have a JIT for, where binutils or LLVM would have to be installed for each.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bpfctl.errors import NotSupported

from .program import Line, Program
from .references import referring

if TYPE_CHECKING:
    import capstone


@dataclass(frozen=True)
class MachineInstruction:
    """An instruction of a CPU."""

    address: int
    raw: bytes
    mnemonic: str
    operands: str
    refers: int = 0
    """Kernel address that it calls, jumps to or makes; 0: none."""


@dataclass(frozen=True)
class MachineFunction:
    """A function of a program as the kernel compiled it."""

    name: str
    address: int
    code: bytes = field(repr=False)
    declaration: str = ""

    @property
    def prototype(self) -> str:
        """The declaration, or at least name and brackets."""
        return self.declaration or f"{self.name}()"

    @property
    def end(self) -> int:
        """Address behind it."""
        return self.address + len(self.code)


@dataclass
class MachineCode:
    """Jited code as `Programs.Dump` answered."""

    program: Program
    """What knows functions and lines; made of the answer for jited code."""
    machine: str
    """uname -m of the target."""
    pointer_bits: int = 64
    names: dict[int, str] = field(default_factory=dict)
    """Of the kernel, by address."""

    @cached_property
    def functions(self) -> list[MachineFunction]:
        """In the order of the program. The kernel may have added one at the end."""
        message = self.program.message
        found = []
        at = 0
        named = self.program.functions
        for number, size in enumerate(message.function_sizes):
            known = named[number] if number < len(named) else None
            addresses = message.function_addresses
            found.append(
                MachineFunction(
                    known.name if known else f"function_{number}",
                    addresses[number] if number < len(addresses) else 0,
                    message.code[at : at + size],
                    known.declaration if known else "",
                )
            )
            at += size
        return found

    def disassemble(self, function: MachineFunction) -> Iterator[MachineInstruction]:
        """Every instruction; what is none is shown as `.byte`. Raises NotSupported."""
        return disassemble(
            function.code,
            function.address,
            self.machine,
            self.pointer_bits,
            big_endian=self.program.big_endian,
        )

    @cached_property
    def _lines(self) -> tuple[list[int], list[Line]]:
        addresses = self.program.message.jited_line_addresses
        records = (line for _, line in self.program.line_records)
        # As many as line_info has, so that they belong together in order.
        ordered = sorted(zip(addresses, records, strict=False), key=lambda entry: entry[0])
        return [address for address, _ in ordered], [line for _, line in ordered]

    def line(self, function: MachineFunction, address: int) -> Line | None:
        """The source line that an instruction came from."""
        addresses, lines = self._lines
        place = bisect.bisect_right(addresses, address) - 1
        return lines[place] if place >= 0 and addresses[place] >= function.address else None

    def name_of(self, address: int) -> str:
        """A function of the program, with the distance from its start, or of the kernel."""
        if not address:
            return ""
        for each in self.functions:
            if each.address <= address < each.end:
                into = address - each.address
                return f"{each.name}+{into:#x}" if into else each.name
        return self.names.get(address, "")

    def references(self) -> set[int]:
        """Addresses outside of the program that its code refers to."""
        found = {
            each.refers
            for part in self.functions
            for each in self.disassemble(part)
            if each.refers
        }
        return {address for address in found if not self._inside(address)}

    def _inside(self, address: int) -> bool:
        return any(each.address <= address < each.end for each in self.functions)

    def rows(self, function: MachineFunction) -> Iterator[dict[str, Any]]:
        """Instructions with stable field names, for programs."""
        for each in self.disassemble(function):
            line = self.line(function, each.address)
            yield {
                "function": function.name,
                "address": f"{each.address:#x}",
                "offset": each.address - function.address,
                "bytes": each.raw.hex(),
                "text": f"{each.mnemonic} {each.operands}".rstrip(),
                "refers": f"{each.refers:#x}" if each.refers else None,
                "name": self.name_of(each.refers) or None,
                "file": line.file if line else None,
                "line": line.line if line else None,
                "column": line.column if line else None,
                "source": line.text if line else None,
            }


def disassemble(
    code: bytes, address: int, machine: str, pointer_bits: int = 64, *, big_endian: bool = False
) -> Iterator[MachineInstruction]:
    """Instructions of a CPU; `machine` as `uname -m` says. Raises NotSupported.

    A process of 32 bits on a kernel of 64 sees another machine, so `pointer_bits` decides.
    """
    disassembler = _disassembler(machine, pointer_bits, big_endian)
    refer = referring(machine, pointer_bits)()
    at = 0
    while at < len(code):
        for place, size, mnemonic, operands in disassembler.disasm_lite(
            code[at:], address + at
        ):
            raw = code[at : at + size]
            yield MachineInstruction(
                place, raw, mnemonic, operands, refer(mnemonic, operands, place)
            )
            at += size
        if at < len(code):
            size = min(_step(machine), len(code) - at)
            raw = code[at : at + size]
            yield MachineInstruction(address + at, raw, ".byte", raw.hex(" "))
            at += size


def _step(machine: str) -> int:
    """Bytes to go on by behind what is no instruction, as numbers between functions."""
    if machine.startswith(("x86", "i")):
        return 1
    return 2 if machine.startswith(("riscv", "s390")) else 4


def _disassembler(machine: str, pointer_bits: int, big_endian: bool) -> capstone.Cs:
    try:
        import capstone
    except ImportError as error:
        raise NotSupported(
            "machine code as text here", needs=f"the Python package capstone ({error})"
        ) from None
    chosen = architecture(machine, pointer_bits)
    if chosen is None:
        raise NotSupported(
            f"machine code of {machine}",
            needs="a disassembler that knows it; translated code is shown without --jited",
        )
    arch, mode = chosen
    order = capstone.CS_MODE_BIG_ENDIAN if big_endian else capstone.CS_MODE_LITTLE_ENDIAN
    return capstone.Cs(arch, mode | order)


def architecture(machine: str, pointer_bits: int) -> tuple[int, int] | None:
    """capstone's architecture and mode; None: it knows none."""
    import capstone

    wide = pointer_bits == 64
    table: Iterable[tuple[str, int, int]] = (
        ("x86_64", capstone.CS_ARCH_X86, capstone.CS_MODE_64 if wide else capstone.CS_MODE_32),
        ("i", capstone.CS_ARCH_X86, capstone.CS_MODE_64 if wide else capstone.CS_MODE_32),
        ("aarch64", capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
        (
            "armv",
            capstone.CS_ARCH_ARM64 if wide else capstone.CS_ARCH_ARM,
            capstone.CS_MODE_ARM,
        ),
        (
            "riscv",
            capstone.CS_ARCH_RISCV,
            (capstone.CS_MODE_RISCV64 if wide else capstone.CS_MODE_RISCV32)
            | capstone.CS_MODE_RISCVC,
        ),
        ("ppc64", capstone.CS_ARCH_PPC, capstone.CS_MODE_64),
        ("s390x", capstone.CS_ARCH_SYSZ, 0),
        ("mips64", capstone.CS_ARCH_MIPS, capstone.CS_MODE_MIPS64),
    )
    return next(
        ((arch, mode) for prefix, arch, mode in table if machine.startswith(prefix)), None
    )
