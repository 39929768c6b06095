# SPDX-License-Identifier: Apache-2.0
"""What is computed from BTF types: sizes, names as in C, variables, tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bpfctl.btf import kinds
from bpfctl.btf.errors import BtfError
from bpfctl.btf.kinds import Kind, Linkage
from bpfctl.btf.parse import TypeTable

_LONGS = ("long", "unsigned long", "long int", "long unsigned int")
_MAX_DEPTH = 64
_WORDS = {Kind.CONST: "const", Kind.VOLATILE: "volatile", Kind.RESTRICT: "restrict"}


@dataclass(frozen=True, slots=True)
class GlobalVariable:
    """A variable and its place in a data section.

    `offset` is None where the BTF does not know it: compilers leave the offsets of global
    variables to the symbol table of the ELF file (the symbol's value is the offset). The
    BTF of a loaded map has them all.
    """

    name: str
    section: str
    offset: int | None
    size: int
    type_id: int
    linkage: Linkage


class Btf(TypeTable):
    """The types of one BTF blob and of its base; `Btf.parse(data)` makes one."""

    @cached_property
    def pointer_size(self) -> int:
        """Bytes of a pointer: those of `long`, 8 where the BTF knows no long."""
        for name in _LONGS:
            found = self.find(name, Kind.INT)
            if isinstance(found, kinds.Int) and found.size in (4, 8):
                return found.size
        return 8

    def size(self, type_id: int) -> int:
        """Bytes of a value of the type; 0 for void, forward declarations and functions.

        Raises BtfError for a type that contains itself.
        """
        factor = 1
        for _ in range(_MAX_DEPTH):
            found = self.resolve(type_id)
            if isinstance(found, kinds.Array):
                factor *= found.count
                type_id = found.element
            elif isinstance(found, kinds.Variable):
                type_id = found.type
            elif found.kind is Kind.PTR:
                return factor * self.pointer_size
            else:
                return factor * int(getattr(found, "size", 0))
        raise BtfError(f"type {type_id} of the BTF contains itself")

    def alignment(self, type_id: int) -> int:
        """The largest alignment that the offsets and size of the type allow, at least 1.

        BTF does not say whether a struct is packed; one whose members or size do not fit
        their natural alignment is.
        """
        return self._alignment(type_id, 0)

    def _alignment(self, type_id: int, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise BtfError(f"type {type_id} of the BTF contains itself")
        found = self.resolve(type_id)
        if isinstance(found, kinds.Array):
            return self._alignment(found.element, depth + 1)
        if isinstance(found, kinds.Variable):
            return self._alignment(found.type, depth + 1)
        if isinstance(found, kinds.Composite):
            largest = 1
            for member in found.members:
                alignment = self._alignment(member.type, depth + 1)
                if not member.bits and member.bit_offset % (8 * alignment):
                    return 1
                largest = max(largest, alignment)
            return largest if found.size % largest == 0 else 1
        if found.kind is Kind.PTR:
            return self.pointer_size
        return min(max(1, int(getattr(found, "size", 1))), 2 * self.pointer_size)

    def type_name(self, type_id: int) -> str:
        """The type as C writes it: `struct key`, `__u32`, `char[16]`, `const int *`."""
        return self._type_name(type_id, 0)

    def _type_name(self, type_id: int, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise BtfError(f"type {type_id} of the BTF is a chain without an end")
        found = self.type(type_id)
        if isinstance(found, kinds.Array):
            counts = [found.count]
            while isinstance(inner := self.type(found.element), kinds.Array):
                counts.append(inner.count)
                found = inner
                if len(counts) > _MAX_DEPTH:
                    raise BtfError(f"type {type_id} of the BTF is a chain without an end")
            element = self._type_name(found.element, depth + 1)
            return element + "".join(f"[{count}]" for count in counts)
        if isinstance(found, kinds.Variable):
            return self._type_name(found.type, depth + 1)
        if isinstance(found, kinds.FunctionPrototype):
            return "function"
        if not isinstance(found, kinds.Reference) or found.kind is Kind.TYPEDEF:
            name = found.name or ("void" if found.kind is Kind.VOID else "{...}")
            return f"{found.keyword} {name}".strip()
        target = self._type_name(found.target, depth + 1)
        if found.kind is Kind.TYPE_TAG:
            return target
        if found.kind is Kind.PTR:
            return target + ("*" if target.endswith("*") else " *")
        if target.endswith("*"):
            return f"{target} {_WORDS[found.kind]}"
        return f"{_WORDS[found.kind]} {target}"

    def declaration(self, type_id: int) -> str:
        """A function as C declares it: `int f(struct xdp_md *ctx)`; empty: it is none."""
        found = self.type(type_id)
        prototype = self.type(found.prototype) if isinstance(found, kinds.Function) else None
        if not isinstance(prototype, kinds.FunctionPrototype):
            return ""
        parameters = [
            _joined(self.type_name(type_of), name) if type_of or name else "..."
            for name, type_of in prototype.parameters
        ]
        returned = _joined(self.type_name(prototype.returns), found.name)
        return f"{returned}({', '.join(parameters) or 'void'})"

    @cached_property
    def sections(self) -> list[kinds.DataSection]:
        """The data sections: .rodata, .data, .bss, .maps, license, ..."""
        found = self.of_kind(Kind.DATASEC)
        return [section for section in found if isinstance(section, kinds.DataSection)]

    def variables(self, section: str = "") -> Iterator[GlobalVariable]:
        """The variables of a data section, or of all, in the order of the sections."""
        for found in self.sections:
            if section and found.name != section:
                continue
            for entry in found.variables:
                variable = self.type(entry.variable)
                # Functions stand in sections, too (.ksyms).
                if not isinstance(variable, kinds.Variable):
                    continue
                known = found.size > 0 or variable.linkage is Linkage.STATIC
                yield GlobalVariable(
                    variable.name,
                    found.name,
                    entry.offset if known else None,
                    entry.size or self.size(variable.type),
                    variable.type,
                    variable.linkage,
                )

    def find_variable(self, name: str, section: str = "") -> GlobalVariable | None:
        """The variable of that name; a global one before a static one of the same name."""
        found = [variable for variable in self.variables(section) if variable.name == name]
        found.sort(key=lambda variable: variable.linkage is Linkage.STATIC)
        return found[0] if found else None

    def decl_tags(self, type_id: int, component: int = -1) -> list[str]:
        """btf_decl_tag texts on a type, variable or function, or on its member `component`."""
        return self._tags.get((type_id, component), [])

    @cached_property
    def _tags(self) -> dict[tuple[int, int], list[str]]:
        tags: dict[tuple[int, int], list[str]] = {}
        for found in self.of_kind(Kind.DECL_TAG):
            assert isinstance(found, kinds.DeclTag)
            tags.setdefault((found.target, found.component), []).append(found.name)
        return tags


def _joined(kind: str, name: str) -> str:
    return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}".rstrip()
