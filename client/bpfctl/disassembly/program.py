# SPDX-License-Identifier: Apache-2.0
"""The translated code of a loaded program: functions, source lines, names."""

from __future__ import annotations

import bisect
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from bpfctl.btf import BtfError

from .instruction import TAIL_CALL, Call, Instruction, Pseudo, decode
from .names import called_by_number, variable_at
from .text import render

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfd.v1 import common_pb2, programs_pb2

_KERNEL_SYMBOL = re.compile(r"bpf_prog_[0-9a-f]{16}_(.+)")
"""Functions of programs in kallsyms (bpf_get_prog_name in kernel/bpf/core.c)."""


@dataclass(frozen=True)
class Line:
    """A source line; the text is what the compiler saw, from the program's BTF."""

    file: str
    line: int
    column: int
    text: str


@dataclass(frozen=True)
class Function:
    """A function of a program."""

    name: str
    start: int
    """Index of its first instruction."""
    end: int
    """Index behind its last one."""
    address: int = 0
    """Of its machine code in the kernel; 0: hidden."""
    declaration: str = ""
    """As in C, by BTF; empty: unknown."""

    @property
    def prototype(self) -> str:
        """The declaration, or at least name and brackets."""
        return self.declaration or f"{self.name}()"


@dataclass
class Types:
    """Where BTF comes from; each is asked only when something needs it, and may give None."""

    program: Btf | None = None
    kernel: Callable[[], Btf | None] = lambda: None
    of_map: Callable[[common_pb2.KernelMap], Btf | None] = lambda _: None


@dataclass
class Program:
    """A program as `Programs.Dump` answered; the `Names` of its instructions."""

    message: programs_pb2.DumpProgramResponse
    types: Types = field(default_factory=Types)
    big_endian: bool = False
    jited: bool = False
    """The answer has machine code: there are functions and lines, and no instructions."""

    @property
    def id(self) -> int:
        """Kernel id."""
        return self.message.program.id

    @property
    def name(self) -> str:
        return self.message.program.name or f"id {self.id}"

    @cached_property
    def instructions(self) -> list[Instruction]:
        """In the order of the program; empty for jited code."""
        return [] if self.jited else decode(self.message.code, big_endian=self.big_endian)

    @cached_property
    def maps(self) -> dict[int, common_pb2.KernelMap]:
        """Maps that it uses by id."""
        return {each.id: each for each in self.message.maps}

    @cached_property
    def symbols(self) -> dict[int, str]:
        """Names by kernel address."""
        return {each.address: each.name for each in self.message.symbols}

    @cached_property
    def functions(self) -> list[Function]:
        """Functions by their start; one at least."""
        starts = self._starts
        ends = [*list(starts)[1:], len(self.message.code) // 8]
        addresses = self.message.function_addresses
        return [
            Function(
                name or self._symbol(number) or f"function_{start}",
                start,
                end,
                addresses[number] if number < len(addresses) else 0,
                self._declaration(start),
            )
            for number, ((start, name), end) in enumerate(
                zip(starts.items(), ends, strict=True)
            )
        ]

    def _symbol(self, number: int) -> str:
        """The name of a function in kallsyms; of all but the first it may be just "F"."""
        if number == 0:
            return self.name
        addresses = self.message.function_addresses
        if number >= len(addresses):
            return ""
        match = _KERNEL_SYMBOL.fullmatch(self.symbols.get(addresses[number], ""))
        return match[1] if match and match[1] not in ("F", self.name) else ""

    @cached_property
    def _starts(self) -> dict[int, str]:
        """Where functions start, with names by func_info; without: by what calls them."""
        size = 1 << 32 if self.jited else max(1, len(self.message.code) // 8)
        starts = {start: self._type_name(type_id) for start, type_id in self._types.items()}
        if not starts:
            callees = (self._callee_start(each) for each in self.instructions)
            starts = {callee: "" for callee in callees if callee is not None}
        starts.setdefault(0, "")
        return {start: starts[start] for start in sorted(starts) if 0 <= start < size}

    @cached_property
    def _types(self) -> dict[int, int]:
        """func_info: type ids by the index that a function starts at."""
        size = self.message.func_info_record_size
        records = self._records(self.message.func_info, size, 2)
        return {record[0]: record[1] for record in records}

    def _declaration(self, start: int) -> str:
        btf = self.types.program
        try:
            return btf.declaration(self._types[start]) if btf and start in self._types else ""
        except BtfError:
            return ""

    def _type_name(self, type_id: int) -> str:
        try:
            return self.types.program.type(type_id).name if self.types.program else ""
        except BtfError:
            return ""

    def _records(self, data: bytes, size: int, words: int) -> Iterator[tuple[int, ...]]:
        """The first words of each record."""
        if size < 4 * words:
            return
        layout = struct.Struct(f"{'>' if self.big_endian else '<'}{words}I")
        for at in range(0, len(data) - size + 1, size):
            yield layout.unpack_from(data, at)

    @cached_property
    def line_records(self) -> list[tuple[int, Line]]:
        """(index of the first instruction, line), as the kernel keeps them."""
        btf = self.types.program
        if btf is None:
            return []
        found = []
        for index, file, text, where in self._records(
            self.message.line_info, self.message.line_info_record_size, 4
        ):
            try:
                line = Line(btf.string(file), where >> 10, where & 0x3FF, btf.string(text))
            except BtfError:
                line = Line("", where >> 10, where & 0x3FF, "")
            found.append((index, line))
        return found

    @cached_property
    def _lines(self) -> tuple[list[int], list[Line]]:
        ordered = sorted(self.line_records, key=lambda record: record[0])
        return [index for index, _ in ordered], [line for _, line in ordered]

    def line(self, index: int) -> Line | None:
        """The source line that an instruction came from."""
        starts, lines = self._lines
        place = bisect.bisect_right(starts, index)
        return lines[place - 1] if place else None

    def starts_line(self, index: int) -> bool:
        """A source line starts at the instruction."""
        starts, _ = self._lines
        place = bisect.bisect_left(starts, index)
        return place < len(starts) and starts[place] == index

    def function_of(self, index: int) -> Function:
        """The function that an instruction is in."""
        place = bisect.bisect_right(self.functions, index, key=lambda each: each.start)
        return self.functions[max(0, place - 1)]

    def code_of(self, function: Function) -> list[Instruction]:
        """The instructions of a function."""
        key = attrgetter("index")
        first = bisect.bisect_left(self.instructions, function.start, key=key)
        return self.instructions[
            first : bisect.bisect_left(self.instructions, function.end, key=key)
        ]

    # Names

    def map(self, number: int, kind: Pseudo) -> str:
        """The map's name; with its id where two have the same."""
        found = self.maps.get(number)
        if found is None or kind not in (Pseudo.MAP, Pseudo.MAP_VALUE):
            return ""
        name = map_name(found)
        if not name or sum(map_name(each) == name for each in self.maps.values()) > 1:
            return f"{name}#{number}" if name else ""
        return name

    def function(self, index: int) -> str:
        """The function that starts there."""
        found = self.function_of(index)
        return found.name if found.start == index else ""

    def callee_function(self, instruction: Instruction) -> Function | None:
        """The function of the program that an instruction calls or points to."""
        start = self._callee_start(instruction)
        if start is None:
            return None
        found = self.function_of(start)
        if found.start == start:
            return found
        number = instruction.immediate
        return self.functions[number] if 0 < number < len(self.functions) else None

    def _callee_start(self, instruction: Instruction) -> int | None:
        """Where the function starts that an instruction calls or points to.

        The kernel keeps 16 bits of a call's distance. In long programs it is the first place,
        in steps of 65536, where a function can start: behind an instruction that ends one.
        """
        index = instruction.callee
        if index is None or not instruction.is_call:
            return index
        size = len(self.message.code) // 8
        for start in range(index, size, 1 << 16):
            if start > 0 and (start in self._ends or size < 1 << 15):
                return start
        return index

    @cached_property
    def _ends(self) -> set[int]:
        """Indices behind instructions that may be the last of a function."""
        return {each.following for each in self.instructions if not each.goes_on}

    def callee(self, instruction: Instruction) -> str:
        """The function that a call calls, of the program or of the kernel."""
        if instruction.source == Call.FUNCTION:
            found = self.callee_function(instruction)
            return found.name if found else ""
        if instruction.source == Call.HELPER and instruction.immediate == TAIL_CALL:
            return "bpf_tail_call"
        name = self.symbols.get(self._called(instruction), "")
        if name or not instruction.immediate:
            return name
        # JITs that reach functions far away leave the kfunc's BTF id, offloaded programs the
        # helper's number.
        btf = self.types.kernel() if 0 < instruction.immediate < 1 << 20 else None
        return called_by_number(btf, instruction) if btf is not None else ""

    def addresses(self) -> set[int]:
        """Where the functions of the kernel are that it calls, and its own."""
        calls = (
            self._called(each)
            for each in self.instructions
            if each.is_call and each.source != Call.FUNCTION
        )
        return {*filter(None, calls), *self.message.function_addresses}

    def _called(self, instruction: Instruction) -> int:
        base = self.message.call_base
        mask = 2**64 - 1 if base >> 32 else 2**32 - 1
        return base + instruction.immediate & mask if base and instruction.immediate else 0

    def address(self, number: int) -> str:
        """The symbol of the kernel at an address; small numbers are no addresses."""
        lowest = 1 << 32 if self.message.call_base >> 32 else 1 << 16
        return self.symbols.get(number, "") if number >= lowest else ""

    def variable(self, instruction: Instruction) -> str:
        """The global variable that a `ld_imm64` points to; empty: none, or unknown."""
        if instruction.opcode != 0x18 or instruction.source != Pseudo.MAP_VALUE:
            return ""
        found = self.maps.get(instruction.immediate)
        btf = self.types.of_map(found) if found is not None and found.btf_id else None
        if found is None or btf is None:
            return ""
        return variable_at(btf, found.btf_value_type_id, instruction.high)

    # Rows

    def row(self, instruction: Instruction) -> dict[str, Any]:
        """An instruction with stable field names, for programs."""
        line = self.line(instruction.index)
        index = instruction.immediate
        by_map = instruction.opcode == 0x18 and instruction.source in (
            Pseudo.MAP,
            Pseudo.MAP_VALUE,
        )
        callee = self.callee(instruction) if instruction.is_call else ""
        pointed = self.callee_function(instruction) if not instruction.is_call else None
        return {
            "index": instruction.index,
            "function": self.function_of(instruction.index).name,
            "bytes": instruction.raw.hex(),
            "text": render(instruction, self),
            "target": instruction.target,
            "callee": callee or (pointed.name if pointed else None),
            "map_id": index if by_map else None,
            "map": map_name(self.maps[index]) if by_map and index in self.maps else None,
            "variable": self.variable(instruction) or None,
            "file": line.file if line else None,
            "line": line.line if line else None,
            "column": line.column if line else None,
            "source": line.text if line else None,
        }


def map_name(entry: common_pb2.KernelMap) -> str:
    """The full name that the daemon knows, else the kernel's 15 bytes."""
    return entry.member or entry.name
