# SPDX-License-Identifier: Apache-2.0
"""Call frame instructions of one function as rows: how to find the caller at each address.

The meaning of the instructions is that of DWARF 5, section 6.4, and of the Linux Standard
Base's .eh_frame; pyelftools reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(IntEnum):
    """Where the canonical frame address (CFA) is; as in bpf/include/bpfd/unwind.h."""

    NONE = 0
    """No function is known there."""
    SP = 1
    """Stack pointer and offset."""
    FP = 2
    """Frame pointer and offset."""
    FP_DEREF = 3
    """What the memory at frame pointer and offset holds."""
    PLT = 4
    """x86-64: an entry of the procedure linkage table, 8 or 16 bytes below."""
    SIGNAL = 5
    """The trampoline to which a signal handler returns."""
    END = 6
    """The outermost function."""
    OTHER = 7
    """An expression or a register that the unwinder does not read."""


@dataclass(frozen=True)
class Machine:
    """Numbers of registers in DWARF, by the processor's ABI."""

    sp: int
    fp: int
    ra: int
    """The column of the return address."""
    ra_offset: int
    """Where calls put the return address, from the CFA; 0: into a register."""


MACHINES = {
    "EM_X86_64": Machine(sp=7, fp=6, ra=16, ra_offset=-8),
    "EM_AARCH64": Machine(sp=31, fp=29, ra=30, ra_offset=0),
}
"""System V ABI for AMD64, figure 3.36; DWARF for the Arm 64-bit Architecture, section 4.1."""


@dataclass(frozen=True)
class Rule:
    """How to find the caller of one address."""

    kind: Kind
    cfa: int = 0
    """Bytes from the register to the CFA."""
    fp: int = 0
    """Where the caller's frame pointer is, from the CFA; 0: it is unchanged."""
    ra: int = 0
    """Where the return address is, from the CFA; 0: in the link register."""


_PLT = ("breg7", "breg16", "lit15", "and", "lit11", "ge", "lit3", "shl", "plus")
"""Operations of the expression that link editors write for x86-64's .plt."""

Operation = tuple[str, list[int]]
"""Of a DWARF expression: name without DW_OP_, arguments."""


@dataclass(frozen=True)
class _State:
    """What the instructions said so far; saved: by register, its offset from the CFA."""

    kind: Kind = Kind.NONE
    register: int = -1
    cfa: int = 0
    saved: Mapping[int, int] = field(default_factory=dict)
    undefined: frozenset[int] = frozenset()
    strange: frozenset[int] = frozenset()
    """Registers that are found by other ways than an offset from the CFA."""

    def save(self, register: int, offset: int) -> _State:
        return replace(
            self,
            saved={**self.saved, register: offset},
            undefined=self.undefined - {register},
            strange=self.strange - {register},
        )

    def forget(self, register: int) -> _State:
        return replace(
            self,
            saved={key: value for key, value in self.saved.items() if key != register},
            undefined=self.undefined - {register},
            strange=self.strange - {register},
        )

    def rule(self, machine: Machine) -> Rule:
        if machine.ra in self.undefined:
            return Rule(Kind.END)
        kind = self.kind
        if kind is Kind.SP and self.register == machine.fp:
            kind = Kind.FP
        elif kind is Kind.SP and self.register != machine.sp:
            kind = Kind.OTHER
        if machine.ra in self.strange or machine.fp in self.strange:
            kind = Kind.OTHER
        if kind in (Kind.OTHER, Kind.NONE):
            return Rule(kind)
        ra = self.saved.get(machine.ra, machine.ra_offset)
        return Rule(kind, self.cfa, self.saved.get(machine.fp, 0), ra)


def rules(
    entry: Any, machine: Machine, operations: Callable[[Sequence[int]], list[Operation]]
) -> Iterator[tuple[int, Rule]]:
    """(address, rule) of a frame description entry of pyelftools, ascending; the last is NONE.

    `operations` parses a DWARF expression. Addresses are those of the file.
    """
    begin = int(entry.header["initial_location"])
    end = begin + int(entry.header["address_range"])
    common = entry.cie
    if b"S" in common.header.get("augmentation", b""):
        # A return address is looked up one byte before it, and this one is the first byte.
        yield begin - 1, Rule(Kind.SIGNAL)
        yield end, Rule(Kind.NONE)
        return
    run = _Run(machine, common.header, operations)
    state = _State()
    for instruction in common.instructions:
        state = run.step(state, instruction, state)
    initial = state
    at = begin
    for instruction in entry.instructions:
        moved = run.moved(instruction, at)
        if moved is None:
            state = run.step(state, instruction, initial)
        elif moved > at:
            yield at, state.rule(machine)
            at = moved
    if at < end:
        yield at, state.rule(machine)
    yield end, Rule(Kind.NONE)


class _Run:
    """The instructions of one entry."""

    def __init__(
        self,
        machine: Machine,
        common: Any,
        operations: Callable[[Sequence[int]], list[Operation]],
    ) -> None:
        self._machine = machine
        self._code = int(common["code_alignment_factor"])
        self._data = int(common["data_alignment_factor"])
        self._operations = operations
        self._stack: list[_State] = []

    def moved(self, instruction: Any, at: int) -> int | None:
        """The next address, when the instruction is one that tells it."""
        opcode = instruction.opcode
        if opcode == 0x01:  # set_loc
            return int(instruction.args[0])
        if opcode & 0xC0 == 0x40 or opcode in (0x02, 0x03, 0x04):  # advance_loc
            return at + int(instruction.args[0]) * self._code
        return None

    def step(self, state: _State, instruction: Any, initial: _State) -> _State:
        """The state after an instruction; `initial` is that of the common entry."""
        opcode, args = int(instruction.opcode), instruction.args
        match opcode & 0xC0 or opcode:
            case 0x80 | 0x05:  # offset, offset_extended
                return state.save(args[0], args[1] * self._data)
            case 0x11:  # offset_extended_sf
                return state.save(args[0], args[1] * self._data)
            case 0xC0 | 0x06:  # restore, restore_extended
                register = args[0]
                offset = initial.saved.get(register)
                return (
                    state.forget(register) if offset is None else state.save(register, offset)
                )
            case 0x07:  # undefined
                return replace(state, undefined=state.undefined | {args[0]})
            case 0x08:  # same_value
                return state.forget(args[0])
            case 0x09 | 0x10 | 0x14 | 0x15 | 0x16:  # register, expression, val_...
                return replace(state, strange=state.strange | {args[0]})
            case 0x0A:  # remember_state
                self._stack.append(state)
                return state
            case 0x0B:  # restore_state
                return self._stack.pop() if self._stack else initial
            case 0x0C:  # def_cfa
                return replace(state, kind=Kind.SP, register=args[0], cfa=args[1])
            case 0x12:  # def_cfa_sf
                return replace(state, kind=Kind.SP, register=args[0], cfa=args[1] * self._data)
            case 0x0D:  # def_cfa_register
                return replace(state, kind=Kind.SP, register=args[0])
            case 0x0E:  # def_cfa_offset
                return replace(state, kind=Kind.SP, cfa=args[0])
            case 0x13:  # def_cfa_offset_sf
                return replace(state, kind=Kind.SP, cfa=args[0] * self._data)
            case 0x0F:  # def_cfa_expression
                return self._expression(state, args[0])
        return state

    def _expression(self, state: _State, code: Sequence[int]) -> _State:
        found = self._operations(code)
        names = tuple(name for name, _ in found)
        if names == _PLT:
            return replace(state, kind=Kind.PLT, cfa=int(found[0][1][0]))
        if names == (f"breg{self._machine.fp}", "deref"):
            return replace(state, kind=Kind.FP_DEREF, cfa=int(found[0][1][0]))
        return replace(state, kind=Kind.OTHER)
