# SPDX-License-Identifier: Apache-2.0
"""An instruction as one line, in the words of the verifier's log (kernel/bpf/disasm.c).

Other than there jumps say the index that they go to, and names stand for maps, functions
and variables where `Names` knows them.
"""

from __future__ import annotations

from typing import Protocol

from .instruction import (
    BYTES,
    CALL,
    CALL_REGISTER,
    EXIT,
    GOTO,
    GOTO_LONG,
    GOTO_REGISTER,
    LD_IMM64,
    MAY_GOTO,
    TAIL_CALL,
    Call,
    Class,
    Instruction,
    Pseudo,
)

_SIZES = {0x00: 32, 0x08: 16, 0x10: 8, 0x18: 64}
_ALU = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "", "%=", "^=", "=", "s>>=")
_NEG, _MOV, _END = 0x8, 0xB, 0xD
_COMPARE = {
    **{0x1: "==", 0x2: ">", 0x3: ">=", 0x4: "&", 0x5: "!=", 0x6: "s>", 0x7: "s>="},
    **{0xA: "<", 0xB: "<=", 0xC: "s<", 0xD: "s<="},
}

_ABS, _IND, _MEM, _MEMSX, _ATOMIC = 0x20, 0x40, 0x60, 0x80, 0xC0
_NOSPEC = 0xC2
# Modes that only the kernel's own code has (include/linux/filter.h): loads from addresses
# that may fault, and of an arena.
_PROBE_MEM, _PROBE_MEMSX, _PROBE_MEM32, _PROBE_MEM32SX, _PROBE_ATOMIC = (
    *(0x20, 0x40, 0xA0, 0xC0),
    0xE0,
)

_FETCH = 0x01
_XCHG, _CMPXCHG, _LOAD_ACQUIRE, _STORE_RELEASE = 0xE1, 0xF1, 0x100, 0x110
_ATOMIC_OPERATORS = {
    0x00: ("+", "add"),
    0x40: ("|", "or"),
    0x50: ("&", "and"),
    0xA0: ("^", "xor"),
}

_ADDR_SPACE_CAST, _ADDR_PERCPU = 1, -1


class Names(Protocol):
    """What numbers in code stand for; each gives an empty text for what it does not know."""

    def map(self, number: int, kind: Pseudo) -> str:
        """A map by its id, or by its index in an array of files."""

    def function(self, index: int) -> str:
        """The function of the program that starts there."""

    def callee(self, instruction: Instruction) -> str:
        """The kernel's function, or the program's, that a call calls."""

    def address(self, number: int) -> str:
        """What of the kernel is at an address; most numbers are none."""


class NoNames:
    """Numbers only."""

    def map(self, number: int, kind: Pseudo) -> str:
        return ""

    def function(self, index: int) -> str:
        return ""

    def callee(self, instruction: Instruction) -> str:
        return "bpf_tail_call" if instruction.immediate == TAIL_CALL else ""

    def address(self, number: int) -> str:
        return ""


def render(instruction: Instruction, names: Names | None = None) -> str:
    """The instruction as a line of text; "unknown ..." for what no kernel takes."""
    text = _render(instruction, names or NoNames())
    if text:
        return text
    return f"unknown opcode {instruction.opcode:#04x} ({instruction.raw.hex()})"


def _render(each: Instruction, names: Names) -> str:
    match each.kind:
        case Class.ALU | Class.ALU64:
            return _alu(each)
        case Class.JMP | Class.JMP32:
            return _jump(each, names)
        case Class.LD:
            return _load_number(each, names)
        case Class.LDX:
            return _load(each)
        case Class.ST:
            return _store_number(each)
        case _:
            return _store(each)


def number(value: int) -> str:
    """An immediate: decimal while it is short."""
    return str(value) if -1024 < value < 1024 else hex(value)


def _register(each: Instruction, which: int) -> str:
    """r of 64 bits, w of 32, by the instruction's class."""
    return f"{'w' if each.kind in (Class.ALU, Class.JMP32) else 'r'}{which}"


def _alu(each: Instruction) -> str:
    operation = each.opcode >> 4
    by_register = bool(each.opcode & 0x08)
    destination = _register(each, each.destination)
    if operation == _END:
        return _swap(each, by_register)
    if operation == _NEG:
        return f"{destination} = -{destination}"
    if operation >= len(_ALU):
        return ""
    source = _register(each, each.source) if by_register else number(each.immediate)
    sign = ""
    if operation == _MOV and by_register and each.offset:
        return _mov(each, destination, source)
    if operation in (0x3, 0x9) and each.offset == 1:
        sign = "s"
    return f"{destination} {sign}{_ALU[operation]} {source}"


def _swap(each: Instruction, to_big: bool) -> str:
    """Byte order; the result has `immediate` bits, so registers are always whole."""
    register = f"r{each.destination}"
    if each.kind == Class.ALU64:
        return "" if to_big else f"{register} = bswap{each.immediate} {register}"
    return f"{register} = {'be' if to_big else 'le'}{each.immediate} {register}"


def _mov(each: Instruction, destination: str, source: str) -> str:
    if each.offset in (8, 16, 32):
        return f"{destination} = (s{each.offset}){source}"
    if each.kind == Class.ALU64 and each.offset == _ADDR_SPACE_CAST:
        to, origin = each.immediate >> 16 & 0xFFFF, each.immediate & 0xFFFF
        return f"{destination} = addr_space_cast({source}, {to}, {origin})"
    if each.kind == Class.ALU64 and each.offset == _ADDR_PERCPU:
        return f"{destination} = &(void __percpu *)({source})"
    return ""


def _jump(each: Instruction, names: Names) -> str:
    if each.opcode == EXIT:
        return "exit"
    if each.opcode == CALL:
        return _call(each, names)
    if each.opcode == CALL_REGISTER:
        return f"callx r{each.immediate or each.destination}"
    if each.opcode == GOTO_REGISTER:
        return f"gotox r{each.destination}"
    if each.opcode == GOTO:
        return f"goto {each.target}"
    if each.opcode == GOTO_LONG:
        return f"gotol {each.target}"
    if each.opcode == MAY_GOTO:
        return f"may_goto {each.target}"
    operator = _COMPARE.get(each.opcode >> 4)
    if operator is None:
        return ""
    return f"if {condition(each)} goto {each.target}"


def condition(each: Instruction, *, negated: bool = False) -> str:
    """When a conditional jump jumps; `negated`: when it does not."""
    if each.opcode == MAY_GOTO:
        return "within budget" if negated else "budget used up"
    operator = _COMPARE[each.opcode >> 4]
    left = _register(each, each.destination)
    right = _register(each, each.source) if each.opcode & 0x08 else number(each.immediate)
    if not negated:
        return f"{left} {operator} {right}"
    if operator == "&":
        return f"!({left} & {right})"
    sign = "s" if operator.startswith("s") else ""
    plain = operator.removeprefix("s")
    opposite = {"==": "!=", "!=": "==", ">": "<=", "<=": ">", "<": ">=", ">=": "<"}[plain]
    return f"{left} {sign}{opposite} {right}"


def _call(each: Instruction, names: Names) -> str:
    name = names.callee(each)
    if each.source == Call.FUNCTION:
        return f"call {name or f'function at {each.callee}'}"
    if name:
        return f"call {name}"
    if not each.immediate:
        return "call (hidden)"
    what = "kfunc" if each.source == Call.KFUNC else "helper"
    return f"call {what} {each.immediate:#x}"


def _load_number(each: Instruction, names: Names) -> str:
    mode, size = each.opcode & 0xE0, _SIZES[each.opcode & 0x18]
    if each.opcode == LD_IMM64:
        return _load_imm64(each, names) if len(each.raw) == 2 * BYTES else ""
    if size == 64:
        return ""
    if mode == _ABS:
        return f"r0 = *(u{size} *)skb[{each.immediate}]"
    if mode == _IND:
        return f"r0 = *(u{size} *)skb[r{each.source} {each.immediate:+d}]"
    return ""


def _load_imm64(each: Instruction, names: Names) -> str:
    register = f"r{each.destination}"
    match each.source:
        case Pseudo.MAP | Pseudo.MAP_INDEX:
            return f"{register} = {_map(each, names)}"
        case Pseudo.MAP_VALUE | Pseudo.MAP_INDEX_VALUE:
            return f"{register} = {_map(each, names)}[0]{each.high:+d}"
        case Pseudo.FUNCTION:
            callee = each.callee
            assert callee is not None
            return f"{register} = &{names.function(callee) or f'function at {callee}'}"
        case Pseudo.BTF_ID:
            return f"{register} = btf_id[{each.immediate}]"
        case Pseudo.NUMBER:
            name = names.address(each.number)
            return f"{register} = {f'&{name}' if name else number(each.number)}"
        case _:
            return ""


def _map(each: Instruction, names: Names) -> str:
    kind = Pseudo(each.source)
    known = names.map(each.immediate, kind)
    if kind in (Pseudo.MAP_INDEX, Pseudo.MAP_INDEX_VALUE):
        return f"map[{known or f'idx:{each.immediate}'}]"
    return f"map[{known or f'id:{each.immediate}'}]"


def _memory(each: Instruction, base: int, sign: str = "u") -> str:
    size = _SIZES[each.opcode & 0x18]
    return f"({sign}{size} *)(r{base} {each.offset:+d})"


def _load(each: Instruction) -> str:
    mode = each.opcode & 0xE0
    signs = {
        **{_MEM: "u", _PROBE_MEM: "u", _PROBE_MEM32: "u"},
        **{_MEMSX: "s", _PROBE_MEMSX: "s", _PROBE_MEM32SX: "s"},
    }
    sign = signs.get(mode, "")
    if not sign or (sign == "s" and each.opcode & 0x18 == 0x18):
        return ""
    return f"r{each.destination} = *{_memory(each, each.source, sign)}"


def _store_number(each: Instruction) -> str:
    if each.opcode == _NOSPEC:
        return "nospec"
    if each.opcode & 0xE0 not in (_MEM, _PROBE_MEM32):
        return ""
    return f"*{_memory(each, each.destination)} = {number(each.immediate)}"


def _store(each: Instruction) -> str:
    mode = each.opcode & 0xE0
    if mode in (_MEM, _PROBE_MEM32):
        return f"*{_memory(each, each.destination)} = r{each.source}"
    return _atomic(each) if mode in (_ATOMIC, _PROBE_ATOMIC) else ""


def _atomic(each: Instruction) -> str:
    place = _memory(each, each.destination)
    if each.immediate == _LOAD_ACQUIRE:
        return f"r{each.destination} = load_acquire({_memory(each, each.source)})"
    if each.immediate == _STORE_RELEASE:
        return f"store_release({place}, r{each.source})"
    if _SIZES[each.opcode & 0x18] < 32:
        return ""
    width = "64" if each.opcode & 0x18 == 0x18 else ""
    if each.immediate == _XCHG:
        return f"r{each.source} = atomic{width}_xchg({place}, r{each.source})"
    if each.immediate == _CMPXCHG:
        return f"r0 = atomic{width}_cmpxchg({place}, r0, r{each.source})"
    operation = _ATOMIC_OPERATORS.get(each.immediate & ~_FETCH)
    if operation is None:
        return ""
    operator, name = operation
    if each.immediate & _FETCH:
        return f"r{each.source} = atomic{width}_fetch_{name}({place}, r{each.source})"
    return f"lock *{place} {operator}= r{each.source}"
