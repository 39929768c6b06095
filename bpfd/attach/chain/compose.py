# SPDX-License-Identifier: Apache-2.0
"""One program out of several: a dispatcher that calls each as a function of its own.

    r6 = context
    r1 = r6; call member; if w0 is none of its proceed_on: exit     (for each but the last)
    r1 = r6; call member; exit                                      (the last)

Pure: instructions, function and line information and BTF of the whole. Members are moved, not
changed: jumps, calls and references to functions are relative, maps keep their kernel ids.
Each member is entered as a static function, which the verifier follows from the call on as it
follows a program, whatever the types of its arguments say; that its own linkage is global
is for those who call it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bpfd.attach.chain import btf as chain_btf
from bpfd.attach.chain.member import NAME, Member
from bpfd.kernel.constants import (
    BPF_LD_IMM64,
    BPF_PSEUDO_BTF_ID,
    BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC,
    BPF_PSEUDO_KFUNC_CALL,
    BPF_PSEUDO_MAP_FD,
)
from bpfd.kernel.program_code import INSTRUCTION, Code, registers, source_of

_MOV, _CALL, _EXIT, _IF_EQUAL32 = 0xBF, 0x85, 0x95, 0x16
_MOV_IMMEDIATE = 0xB7
_TAIL_CALL = 12
_LOAD32, _XOR = 0x61, 0xAF
_RX_QUEUE_INDEX = 16  # in struct xdp_md
_ANY_CODE = ((_LOAD32, 1, 6, _RX_QUEUE_INDEX), (_XOR, 0, 1), (_XOR, 0, 1))
"""r1 = ctx->rx_queue_index; r0 ^= r1; r0 ^= r1: behind a member with tail calls. The verifiers
of 6.1 and 6.12 think that such a function returns only what it does when its tail call fails,
and take out what would run for any other code; that of 6.18 does not. Of a number that was
mixed with an unknown one none takes anything for granted."""
_GO_ON = (
    (_MOV, 1, 6),
    (BPF_LD_IMM64, 2, BPF_PSEUDO_MAP_FD),  # and a prog array
    (0,),
    (_MOV_IMMEDIATE, 3),
    (_CALL, 0, 0, 0, _TAIL_CALL),
    (_MOV_IMMEDIATE, 0),  # there is always a program: else XDP_ABORTED
    (_EXIT,),
)
"""r1 = r6; r2 = the prog array; r3 = 0; tail call; r0 = 0; exit"""
_SOURCE = "bpfd: chain of XDP programs"


@dataclass(frozen=True)
class Part:
    """A member with what it is made of."""

    member: Member
    code: Code
    btf: bytes = b""
    """Raw BTF that the records of `code` refer to; empty: it has none."""


@dataclass(frozen=True)
class Composed:
    """What BPF_PROG_LOAD takes, with kernel ids of maps in place of fds."""

    instructions: bytes
    func_info: bytes
    line_info: bytes
    btf: bytes
    starts: tuple[int, ...]
    """Index of each part's first instruction."""


def obstacle(code: Code) -> str:
    """Why a program cannot be a part of another one; "": it can."""
    for _, operation, source, offset, immediate, second in _each(code.instructions):
        if operation == _CALL and source == BPF_PSEUDO_KFUNC_CALL and offset:
            return "it calls a function of a kernel module"
        if operation == BPF_LD_IMM64 and source == BPF_PSEUDO_BTF_ID and second:
            return "it uses a variable of a kernel module"
        if operation == BPF_LD_IMM64 and source > BPF_PSEUDO_FUNC:
            return "its maps are named by an array of file descriptors"
        if operation == _CALL and source > BPF_PSEUDO_KFUNC_CALL:
            return f"it has calls of a kind that is not known ({immediate})"
    return ""


def has_tail_calls(code: Code) -> bool:
    """Whether it calls bpf_tail_call()."""
    return any(
        (operation, source, immediate) == (_CALL, 0, _TAIL_CALL)
        for _, operation, source, _, immediate, _ in _each(code.instructions)
    )


def _each(instructions: bytes) -> list[tuple[int, int, int, int, int, int]]:
    """(index, operation, source register, offset, immediate, second immediate)."""
    raw = list(INSTRUCTION.iter_unpack(instructions))
    found = []
    index = 0
    while index < len(raw):
        operation, both, offset, immediate = raw[index]
        wide = operation == BPF_LD_IMM64
        second = raw[index + 1][3] if wide and index + 1 < len(raw) else 0
        found.append((index, operation, source_of(both), offset, immediate, second))
        index += 2 if wide else 1
    return found


def functions(code: Code) -> list[int]:
    """Index of the first instruction of each function, ascending; the program's is 0."""
    if code.func_info:
        return [start for start, _ in struct.iter_unpack("=II", code.func_info)]
    starts = {0}
    for index, operation, source, _, immediate, _ in _each(code.instructions):
        if (operation, source) in (
            (_CALL, BPF_PSEUDO_CALL),
            (BPF_LD_IMM64, BPF_PSEUDO_FUNC),
        ):
            starts.add(index + immediate + 1)
    return sorted(starts)


def dispatcher(
    members: Sequence[Member],
    sizes: Sequence[int],
    following: int = 0,
    tail_calls: Collection[int] = (),
) -> tuple[bytes, list[int]]:
    """The main function, and in it the index at which each member's turn begins.

    `sizes` are the members' lengths in instructions: they follow one behind the other.
    `following` is the prog array (its kernel id) with the program that goes on after the last
    one; 0: the last one's code is returned. `tail_calls` are the indexes of members with such.
    """
    choosing = len(members) - (0 if following else 1)
    hidden = {index: _ANY_CODE for index in tail_calls if index < choosing}
    lengths = [
        3 + len(hidden.get(index, ())) + (len(each.proceed_on) if index < choosing else 0)
        for index, each in enumerate(members)
    ]
    turns = [1 + sum(lengths[:index]) for index in range(len(members) + 1)]
    out = [_instruction(_MOV, 6, 1)]
    target = turns[-1] + (len(_GO_ON) if following else 0)
    for number, (member, size) in enumerate(zip(members, sizes, strict=True)):
        out.append(_instruction(_MOV, 1, 6))
        call = len(out)
        out.append(_instruction(_CALL, 0, BPF_PSEUDO_CALL, immediate=target - call - 1))
        target += size
        out += [_instruction(*each) for each in hidden.get(number, ())]
        for code in member.proceed_on if number < choosing else ():
            ahead = turns[number + 1] - len(out) - 1
            out.append(_instruction(_IF_EQUAL32, offset=ahead, immediate=code))
        out.append(_instruction(_EXIT))
    if following:
        out += [_instruction(*each) for each in _GO_ON]
        out[-6] = _instruction(BPF_LD_IMM64, 2, BPF_PSEUDO_MAP_FD, immediate=following)
    return b"".join(out), turns[:-1]


def _instruction(
    operation: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0
) -> bytes:
    return INSTRUCTION.pack(operation, registers(target, source), offset, immediate)


def compose(
    parts: Sequence[Part], told: Sequence[Member] | None = None, following: int = 0
) -> Composed:
    """A chain, or a piece of one; `parts` are in the order of their running, one or more.

    `told` are the members that its BTF tells of, where they are others than those of `parts`;
    `following` as for `dispatcher`. Raises ValueError for BTF that is none.
    """
    members = [part.member for part in parts]
    sizes = [len(part.code.instructions) // 8 for part in parts]
    tail_calls = [index for index, part in enumerate(parts) if has_tail_calls(part.code)]
    main, turns = dispatcher(members, sizes, following, tail_calls)
    btf = chain_btf.Merged()
    shifts = [btf.add(part.btf) if part.btf else None for part in parts]
    prototype = _prototype(btf)
    main_function = btf.type(chain_btf.FUNC, NAME, prototype, vlen=chain_btf.STATIC)
    for member in members if told is None else told:
        btf.type(chain_btf.DECL_TAG, member.tag(), main_function, 0xFFFFFFFF)
    func_info = [(0, main_function)]
    line_info = [(0, *_line(btf, "", 0))]
    line_info += [
        (turn, *_line(btf, str(member), number))
        for number, (turn, member) in enumerate(zip(turns, members, strict=True), 1)
    ]
    starts, at = [], len(main) // 8
    for part, shift in zip(parts, shifts, strict=True):
        starts.append(at)
        func_info += _functions(btf, part, shift, at, prototype)
        line_info += _lines(btf, part, shift, at)
        at += len(part.code.instructions) // 8
    return Composed(
        main + b"".join(part.code.instructions for part in parts),
        b"".join(struct.pack("=II", *record) for record in func_info),
        b"".join(struct.pack("=IIII", *record) for record in line_info),
        btf.data(),
        tuple(starts),
    )


def _prototype(btf: chain_btf.Merged) -> int:
    """int (*)(void *ctx)"""
    number = btf.type(chain_btf.INT, "int", 4, 1 << 24 | 32)
    pointer = btf.type(chain_btf.PTR)
    context = btf.string("ctx")
    return btf.type(chain_btf.FUNC_PROTO, "", number, context, pointer, vlen=1)


def _line(btf: chain_btf.Merged, text: str, number: int) -> tuple[int, int, int]:
    return btf.string(_SOURCE), btf.string(text or NAME), number << 10


def _functions(
    btf: chain_btf.Merged, part: Part, shift: chain_btf.Shift | None, at: int, prototype: int
) -> list[tuple[int, int]]:
    """Function records of a part; names are made up where it has none."""
    if shift is not None and part.code.func_info:
        found = [
            (start + at, shift.type(number))
            for start, number in struct.iter_unpack("=II", part.code.func_info)
        ]
        btf.set_linkage(found[0][1], chain_btf.STATIC)
        return found
    name = re.sub(r"\A(?=\d)|[^A-Za-z0-9_]", "_", part.member.program) or "_"
    return [
        (
            start + at,
            btf.type(
                chain_btf.FUNC,
                f"{name}_{number}" if number else name,
                prototype,
                vlen=chain_btf.STATIC,
            ),
        )
        for number, start in enumerate(functions(part.code))
    ]


def _lines(
    btf: chain_btf.Merged, part: Part, shift: chain_btf.Shift | None, at: int
) -> list[tuple[int, int, int, int]]:
    """Line records of a part; every function has one at least, as the kernel demands."""
    if shift is not None and part.code.line_info:
        return [
            (start + at, shift.string(file), shift.string(line), column)
            for start, file, line, column in struct.iter_unpack("=IIII", part.code.line_info)
        ]
    return [
        (start + at, *_line(btf, f"{part.member.program}, without its source", 0))
        for start in functions(part.code)
    ]
