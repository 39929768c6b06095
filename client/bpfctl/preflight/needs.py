# SPDX-License-Identifier: Apache-2.0
"""What an object needs of a kernel, read from the object alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfctl.btf import Btf
    from bpfctl.elf import Function, ObjectFile

Ask = tuple[str, Any]
"""How to find out: a field of the message Need with its value, several numbers as a tuple in
the order of its fields; or what BTF of the kernel tells:
("btf", (name, Kind)), ("core", CorePath), ("core", None): whether it is known."""


@dataclass(frozen=True)
class Need:
    """One thing that a kernel is to have. `kind` and `name` are what people read."""

    kind: str
    """"program type", "map type", "helper", "kfunc", "field", "hook", ..."""
    name: str
    ask: Ask | None = None
    """None: only the dry load tells."""
    programs: tuple[str, ...] = ()
    """Those that need it; empty: the object as a whole."""
    at_attach: bool = False
    """The dry load does not need it; attaching does."""
    optional: bool = False
    """The object looks whether it is there (a weak symbol, bpf_core_field_exists())."""
    fallback: str = ""
    """What is done instead where it is missing, by the daemon itself; empty: nothing."""
    since: str = ""
    """First kernel that has it, where the kind of need says it."""

    @property
    def key(self) -> tuple[str, str]:
        """The same need of several programs, and of several targets, has one key."""
        return self.kind, self.name


def of_object(
    parsed: ObjectFile,
    *,
    skip: Collection[str] = (),
    also: Collection[str] = (),
    attach: Mapping[str, Sequence[str]] | None = None,
    functions: Mapping[str, str] | None = None,
) -> list[Need]:
    """Every need of the object once, in the order of its programs; then of its maps.

    `skip` are programs that are not loaded, `also` those that are although their section
    turns them off (`SEC("?...")`). `attach` says by program where it goes, as `--attach`
    does, for those that do not go where their section says; "none": nowhere. `functions`
    says what programs are loaded for in place of what their section names, as `--function`.
    Raises InvalidObject and BtfError.
    """
    from bpfctl.btf import Btf
    from bpfctl.elf.layout import Code

    from . import core, hooks, instructions, maps

    code = Code(parsed)
    btf = Btf.parse(parsed.btf) if parsed.btf else None
    kfuncs = _kfuncs(btf)
    found: list[Need] = []
    for program in loaded(parsed, skip, also):
        texts = (attach or {}).get(program.name)
        function = (functions or {}).get(program.name, "")
        placed = code.layout(program)
        for need in (
            *hooks.needs(program.section, texts, function),
            *instructions.needs(code, placed, program.section, kfuncs),
            *core.needs(parsed, btf, placed),
        ):
            found.append(replace(need, programs=(program.name,)))
    return merged([*found, *maps.needs(parsed, btf)])


def _kfuncs(btf: Btf | None) -> set[str]:
    """Functions of the kernel that an object declares (extern ... __ksym)."""
    from bpfctl.btf import kinds

    sections = btf.sections if btf is not None else []
    entries = [
        item for section in sections if section.name == ".ksyms" for item in section.variables
    ]
    types = [btf.type(entry.variable) for entry in entries] if btf is not None else []
    return {found.name for found in types if isinstance(found, kinds.Function)}


def loaded(
    parsed: ObjectFile, skip: Collection[str] = (), also: Collection[str] = ()
) -> list[Function]:
    """The programs that loading the object loads."""
    return [
        program
        for program in parsed.programs
        if program.name not in skip
        and (not program.section.startswith("?") or program.name in also)
    ]


def merged(needs: Iterable[Need]) -> list[Need]:
    """One of each key with the programs of all; needed at all if one of them needs it."""
    found: dict[tuple[str, str], Need] = {}
    for need in needs:
        there = found.get(need.key)
        if there is None:
            found[need.key] = need
            continue
        programs = dict.fromkeys((*there.programs, *need.programs))
        found[need.key] = replace(
            there,
            programs=tuple(programs),
            optional=there.optional and need.optional,
            at_attach=there.at_attach and need.at_attach,
        )
    order = {kind: number for number, kind in enumerate(ORDER)}
    return sorted(found.values(), key=lambda need: order.get(need.kind, len(ORDER)))


ORDER = (
    *(
        "program type",
        "hook",
        "traced function",
        "function",
        "system call",
        "tracepoint",
        "kernel BTF",
    ),
    *("instructions", "map type", "helper", "kfunc", "symbol", "configuration"),
    *("type", "field", "enumerator"),
)
"""In which needs are shown."""
