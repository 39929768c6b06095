# SPDX-License-Identifier: Apache-2.0
"""What a program's instructions need: helpers, functions of the kernel, instruction sets.

Opcodes: kernel Documentation/bpf/standardization/instruction-set.rst and
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from bpfctl.elf.container import Undefined
from bpfctl.elf.layout import CALL, Code, Instruction

from . import sections
from .needs import Need
from .since import helper_name, helper_since

if TYPE_CHECKING:
    from bpfctl.elf import Function

_LDX, _STX, _JMP, _JMP32, _ALU, _ALU64 = 1, 3, 5, 6, 4, 7
_V2_JUMPS = (0xA0, 0xB0, 0xC0, 0xD0)
"""BPF_JLT, JLE, JSLT, JSLE."""
_MEMSX, _ATOMIC = 0x80, 0xC0
_DIV, _MOD, _MOV, _END = 0x30, 0x90, 0xB0, 0xD0
_JA, _JCOND = 0x00, 0xE0
_LOAD_ACQUIRE, _STORE_RELEASE = 0x100, 0x110


def needs(
    code: Code,
    placed: Sequence[tuple[int, Function]],
    section: str,
    kfuncs: Collection[str] = (),
) -> Iterator[Need]:
    """Those of a program with the functions that it calls; `section` is the program's.

    `kfuncs` are the functions of the kernel that the object declares.
    """
    kind = sections.meaning(section)
    seen: set[object] = set()
    for _, function in placed:
        for item in code.instructions(function):
            for need in _of(item, kind, kfuncs):
                if need.key not in seen:
                    seen.add(need.key)
                    yield need


def _of(
    item: Instruction, kind: sections.Section | None, kfuncs: Collection[str]
) -> Iterator[Need]:
    if isinstance(item.symbol, Undefined):
        is_function = item.opcode == CALL or item.symbol.name in kfuncs
        yield _kfunc(item.symbol) if is_function else _symbol(item.symbol)
    elif item.opcode == CALL:
        if item.source == 0 and item.immediate > 0:
            yield _helper(item.immediate, kind)
    else:
        yield from _instruction_set(item)


def _helper(number: int, kind: sections.Section | None) -> Need:
    name = f"bpf_{helper_name(number)}" if helper_name(number) else f"helper {number}"
    if kind is None:
        return Need("helper", name, since=helper_since(number))
    ask = ("helper", (number, kind.type, kind.attach_type))
    return Need("helper", f"{name} ({kind.name})", ask, since=helper_since(number))


def _kfunc(symbol: Undefined) -> Need:
    from bpfctl.btf.kinds import Kind

    return Need("kfunc", symbol.name, ("btf", (symbol.name, Kind.FUNC)), optional=symbol.weak)


def _symbol(symbol: Undefined) -> Need:
    if symbol.name.startswith(("CONFIG_", "LINUX_")):
        return Need("configuration", symbol.name, optional=symbol.weak)
    return Need("symbol", symbol.name, ("symbol", symbol.name), optional=symbol.weak)


def _instruction_set(item: Instruction) -> Iterator[Need]:
    family, operation = item.opcode & 7, item.opcode & 0xF0
    if family == _JMP and operation in _V2_JUMPS:
        yield Need("instructions", "v2", ("feature", "instructions v2"))
    elif family == _JMP32 and operation != _JA:
        yield Need("instructions", "v3", ("feature", "instructions v3"))
    elif family == _JMP and operation == _JCOND:
        yield Need("instructions", "may_goto", since="6.9")
    elif family == _STX and item.opcode & 0xE0 == _ATOMIC and item.immediate:
        since = "6.15" if item.immediate in (_LOAD_ACQUIRE, _STORE_RELEASE) else "5.12"
        name = "load-acquire, store-release" if since == "6.15" else "atomics beyond add"
        yield Need("instructions", name, since=since)
    elif _is_address_space(item):
        yield Need("instructions", "addresses of arenas", since="6.9")
    elif _is_v4(item, family, operation):
        yield Need("instructions", "v4", ("feature", "instructions v4"))


def _is_address_space(item: Instruction) -> bool:
    return item.opcode == 0xBF and item.offset == 1 and item.immediate != 0


def _is_v4(item: Instruction, family: int, operation: int) -> bool:
    if family == _LDX:
        return item.opcode & 0xE0 == _MEMSX
    if family == _JMP32:
        return operation == _JA
    if family in (_ALU, _ALU64) and operation in (_DIV, _MOD, _MOV) and item.offset:
        return True
    return family == _ALU64 and operation == _END
