# SPDX-License-Identifier: Apache-2.0
"""Declarations of the kernel's structs with nothing but the members that are read.

Their places are found when the object is loaded (CO-RE), so that what stands here are names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .values import CType, MemberOf

FLAVOR = "___kernel"
"""libbpf drops what follows three underscores; keeps structs of linux/bpf.h apart."""

_UAPI = ("bpf_", "xdp_", "btf_", "sk_", "__sk", "registers", "event", "entry", "arguments")


@dataclass
class Struct:
    """A struct or union as far as it is read."""

    keyword: str
    name: str
    """Empty: it has none, and stands where it is used."""
    members: dict[str, str | Struct] = field(default_factory=dict)

    def text(self, declared: dict[str, Struct]) -> Iterator[str]:
        yield f"{self.keyword} {self.name} {{".replace("  ", " ")
        for name, member in self.members.items():
            if isinstance(member, str):
                yield f"\t{member};"
            elif member.name:
                yield f"\t{member.keyword} {member.name} {name};"
            else:
                inner = list(member.text(declared))
                yield from (f"\t{line}" for line in inner[:-1])
                yield f"\t}} {name};"
        yield "} RELOCATED;" if self.name else "};"


class Structs:
    """Every struct that a program reads."""

    def __init__(self) -> None:
        self._named: dict[str, Struct] = {}
        self._enums = 0

    def of(self, kind: CType) -> Struct | None:
        """The struct of a type; None: it has no name, so a pointer to it cannot be followed."""
        keyword, _, name = kind.tag.partition(" ")
        if not name:
            return None
        if name.startswith(_UAPI):
            name += FLAVOR
        return self._named.setdefault(name, Struct(keyword, name))

    def add(self, owner: Struct, member: MemberOf) -> Struct | None:
        """Declares a member; gives the struct that it is, None where it is none."""
        kind = member.type
        if kind.shape == "struct":
            known = owner.members.get(member.name)
            if isinstance(known, Struct):
                return known
            inner = self.of(kind) or Struct("struct", "")
            owner.members[member.name] = inner
            return inner
        owner.members.setdefault(member.name, self._member(member))
        return None

    def _member(self, member: MemberOf) -> str:
        kind, name = member.type, member.name
        if kind.shape == "pointer":
            return f"void *{name}"
        if kind.shape == "enum":
            # The kind must be the same, what it is called and holds need not.
            self._enums += 1
            return f"enum {{ ENUM_{self._enums} }} {name}"
        if kind.shape == "array":
            return f"char {name}[{kind.size}]"
        bits = f" : {member.bits}" if member.bits else ""
        return f"{storage(kind)} {name}{bits}"

    def text(self) -> str:
        """The declarations, those first that others hold."""
        done: list[str] = []
        lines: list[str] = []

        def write(each: Struct) -> None:
            for member in each.members.values():
                if isinstance(member, Struct):
                    write(member)
            if each.name and each.name not in done:
                done.append(each.name)
                lines.extend([*each.text(self._named), ""])

        for each in list(self._named.values()):
            write(each)
        return "\n".join(lines)


def storage(kind: CType) -> str:
    """The C type that holds a scalar, of the width that the target has."""
    if kind.network and kind.size in (2, 4, 8):
        return f"__be{8 * kind.size}"
    sign = "s" if kind.signed and kind.shape in ("int", "enum", "char") else "u"
    return f"__{sign}{8 * kind.size}"
