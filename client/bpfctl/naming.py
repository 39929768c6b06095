# SPDX-License-Identifier: Apache-2.0
"""Functions in place of kernel addresses.

Which members of a type are such is said by tags (docs/design/004-values-by-btf.md); the names
are the target's.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bpfctl.btf.composites import StructNode
from bpfctl.btf.nodes import IntegerLeaf
from bpfctl.btf.roles import IntegerRole, KernelAddress

if TYPE_CHECKING:
    from bpfctl.btf.codec import Codec
    from bpfctl.objects import LoadedObject
    from bpfctl.symbols import Frame, Symbolizer


def roles(codec: Codec | None) -> dict[str, IntegerRole]:
    """The roles of the integers among a struct's fields."""
    node = codec.node if codec is not None else None
    if not isinstance(node, StructNode):
        return {}
    leaves = {field.name: field.node for field in node.fields}
    return {name: each.role for name, each in leaves.items() if isinstance(each, IntegerLeaf)}


def of(loaded: LoadedObject, codec: Codec | None) -> Naming | None:
    """What names the addresses of a type; None where it has none."""
    found = [name for name, role in roles(codec).items() if is_named(role)]
    return Naming(loaded, found) if found else None


def is_named(role: IntegerRole) -> bool:
    """Whether `Naming` knows more of it than its number."""
    return isinstance(role, KernelAddress)


class Naming:
    """Names of one object's addresses, each looked up once."""

    def __init__(self, loaded: LoadedObject, named: Iterable[str]) -> None:
        self._loaded = loaded
        self.named = tuple(named)

    @cached_property
    def _symbols(self) -> Symbolizer:
        from bpfctl.symbols import Symbolizer

        return Symbolizer(self._loaded.target)

    def name(self, rows: Iterable[dict[str, Any]]) -> None:
        """Put names of functions into rows, in place of addresses."""
        for row in rows:
            for column in self.named:
                row[column] = self._address(int(row[column], 0))

    def _address(self, address: int) -> str:
        if not address:
            return ""
        (frames,) = self._symbols.kernel([address], returns=True)
        return _text(frames[0]) if frames else f"{address:#x}"


def _text(frame: Frame) -> str:
    offset = f"+{frame.offset:#x}" if frame.name and frame.offset else ""
    place = f" ({frame.place})" if frame.place else ""
    return f"{frame.text}{offset}{place}"
