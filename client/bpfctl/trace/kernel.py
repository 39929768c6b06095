# SPDX-License-Identifier: Apache-2.0
"""Arguments of kernel functions and tracepoints, from BTF and format texts. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from . import formats
from .program import Parameter, Probe
from .registers import Convention, Place, places, result
from .values import BtfType, CType, of_btf

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.btf.kinds import FunctionPrototype

CHANGED = re.compile(r"\.(constprop|isra|part|cold|llvm)\b")
"""Copies of functions that the compiler made, whose arguments are others than in the source."""


def prototype(btf: Btf, function: str) -> FunctionPrototype | None:
    """What a function takes and gives; None: BTF does not know it, or knows several."""
    from bpfctl.btf import kinds
    from bpfctl.btf.kinds import Kind

    found = {
        each.prototype
        for each in btf.find_all(function, Kind.FUNC)
        if isinstance(each, kinds.Function)
    }
    kept = btf.type(found.pop()) if len(found) == 1 else None
    return kept if isinstance(kept, kinds.FunctionPrototype) else None


def typed(btf: Btf, described: FunctionPrototype) -> tuple[list[tuple[str, BtfType]], bool]:
    """Parameters by name, and whether more may follow ("...")."""
    variadic = any(not kind and not name for name, kind in described.parameters)
    named = [
        (name or f"arg{number}", _shown(btf, kind))
        for number, (name, kind) in enumerate(described.parameters)
        if kind
    ]
    return named, variadic


def _shown(btf: Btf, type_id: int) -> BtfType:
    """A char * that is not const is a place to write to: an address, and no text yet."""
    kind = of_btf(btf, type_id)
    pointed = kind.target() if kind.points_to_text else None
    if pointed is not None and "const" not in pointed.text:
        return replace(kind, opaque=True)
    return kind


def can_be_fentry(btf: Btf, function: str) -> bool:
    """Whether every kernel that has fentry takes it: one function of that name in BTF, at
    most 6 arguments, each a number or pointer (btf_distill_func_proto of kernel/bpf/btf.c)."""
    described = prototype(btf, function)
    if described is None:
        return False
    named, variadic = typed(btf, described)
    plain = all(kind.scalar for _, kind in named)
    result_type = of_btf(btf, described.returns) if described.returns else None
    fits = result_type is None or result_type.scalar
    return plain and fits and not variadic and len(named) <= 6


def fentry(btf: Btf, function: str, pointer_size: int) -> Probe:
    """A probe by fentry and fexit, whose `ctx` is an array of the arguments."""
    described = prototype(btf, function)
    assert described is not None
    named, _ = typed(btf, described)
    parameters = tuple(
        Parameter(name, kind, Place(f"ctx[{at}]")) for at, (name, kind) in enumerate(named)
    )
    return Probe(
        "fentry",
        (function,),
        context_type="__u64 *",
        parameters=parameters,
        result=of_btf(btf, described.returns),
        result_place=Place(f"ctx[{len(named)}]"),
        pointer_size=pointer_size,
        declaration=declaration(btf, function),
    )


def kprobe(
    btf: Btf | None, function: str, convention: Convention | None, pointer_size: int
) -> Probe:
    """A probe by kprobe and kretprobe, whose `ctx` are the registers."""
    described = prototype(btf, function) if btf is not None else None
    if convention is None:
        return Probe("kprobe", (function,), pointer_size=pointer_size)
    raw = CType("int", pointer_size, text="long", signed=True)
    if described is None or btf is None:
        parameters = registers(convention, pointer_size)
        return Probe(
            *("kprobe", (function,), convention.declaration, "struct registers *"),
            parameters,
            result=raw,
            result_place=result(convention, raw),
            pointer_size=pointer_size,
        )
    named, variadic = typed(btf, described)
    found = places(convention, [kind for _, kind in named])
    kept = [
        Parameter(name, kind, place) for (name, kind), place in zip(named, found, strict=True)
    ]
    if variadic:
        kept.append(Parameter("...", CType("unknown"), Place(why="variadic: not told")))
    returned = of_btf(btf, described.returns)
    return Probe(
        *("kprobe", (function,), convention.declaration, "struct registers *"),
        tuple(kept),
        result=returned,
        result_place=Place() if returned.shape == "void" else result(convention, returned),
        pointer_size=pointer_size,
        declaration=declaration(btf, function),
    )


def registers(convention: Convention, pointer_size: int) -> tuple[Parameter, ...]:
    """arg0, arg1, ...: what the registers hold where nothing says what that is."""
    kind = CType("int", pointer_size, text=f"__u{8 * pointer_size}")
    return tuple(
        Parameter(f"arg{at}", kind, Place(code), default=False)
        for at, code in enumerate(convention.registers)
    )


def declaration(btf: Btf, function: str) -> str:
    """The function as C declares it."""
    from bpfctl.btf.kinds import Kind

    found = btf.find(function, Kind.FUNC)
    return btf.declaration(found.id) if found is not None else ""


def raw_tracepoint(btf: Btf, name: str, pointer_size: int) -> Probe | None:
    """A raw tracepoint with the kernel's own arguments; None: BTF does not know it."""
    from bpfctl.btf import kinds
    from bpfctl.btf.kinds import Kind

    found = btf.find(f"btf_trace_{name}", Kind.TYPEDEF)
    pointer = btf.resolve(found.id) if found is not None else None
    described = btf.resolve(pointer.target) if isinstance(pointer, kinds.Reference) else None
    if not isinstance(described, kinds.FunctionPrototype):
        return None
    # Before 6.2 or so the typedef has no names; the function that calls the programs has.
    caller = prototype(btf, f"__traceiter_{name}")
    named = caller or described
    if len(named.parameters) != len(described.parameters):
        named = described
    # The first is the tracepoint's own (void *__data).
    parameters = tuple(
        Parameter(text or f"arg{at}", _shown(btf, kind), Place(f"ctx[{at}]"))
        for at, (text, kind) in enumerate(named.parameters[1:])
    )
    readable = tuple(
        each
        if each.type.scalar
        else Parameter(each.name, each.type, Place(why="a struct by value"))
        for each in parameters
    )
    return Probe(
        *("raw_tp", (name,)),
        context_type="__u64 *",
        parameters=readable,
        pointer_size=pointer_size,
    )


def tracepoint(name: str, format_text: str, pointer_size: int) -> Probe:
    """A tracepoint with the fields of its record."""
    fields = formats.parse(format_text, pointer_size)
    lines, at, padding = ["struct record {"], 0, 0
    parameters = []
    for each in sorted(fields, key=lambda one: one.offset):
        if each.offset > at:
            lines.append(f"\t__u8 padding_{padding}[{each.offset - at}];")
            padding += 1
        at = each.offset + each.size
        parameters.append(_field(each, lines))
    order = {each.name: number for number, each in enumerate(fields)}
    parameters.sort(key=lambda one: order[one.name])
    return Probe(
        "tracepoint",
        (name,),
        "\n".join([*lines, "};\n"]),
        "struct record *",
        tuple(each for each in parameters if each.name != "__syscall_nr"),
        pointer_size=pointer_size,
    )


def _field(each: formats.Field, lines: list[str]) -> Parameter:
    from .generate import member
    from .structs import storage

    name = member(each.name)
    if each.storage in ("data_loc", "rel_loc"):
        lines.append(f"\t__u32 {name};")
        base = f"offsetof(struct record, {name}) + 4 + " if each.storage == "rel_loc" else ""
        base = base.replace("offsetof", "__builtin_offsetof")
        return Parameter(
            each.name, each.type, Place(f"((__u64)ctx + {base}(ctx->{name} & 0xffff))")
        )
    if each.storage in ("text", "bytes"):
        lines.append(f"\t{'char' if each.storage == 'text' else '__u8'} {name}[{each.size}];")
        return Parameter(each.name, each.type, Place(f"&ctx->{name}"))
    lines.append(f"\t{storage(each.type)} {name};")
    return Parameter(each.name, each.type, Place(f"ctx->{name}"))
