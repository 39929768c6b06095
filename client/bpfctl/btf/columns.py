# SPDX-License-Identifier: Apache-2.0
"""Leaves in bulk: a field of every item of a numpy array of C layout, and its values.

Every function takes an array whose items are values of a tree (display.py), of one
dimension, or of two (entries, CPUs) where the CPUs are to be combined into one value.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from bpfctl.btf.bytesroles import BytesRole, Ipv4, Ipv6, Mac, Prefix, Real, Text
from bpfctl.btf.composites import ArrayNode
from bpfctl.btf.nodes import BitsLeaf, BytesLeaf, IntegerLeaf, Leaf
from bpfctl.btf.parse import ByteOrder
from bpfctl.btf.roles import Boolean, Duration, Hexadecimal, IntegerRole, Number, Value

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_WORD_SIZES = (1, 2, 4, 8)
_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


def sign(order: ByteOrder) -> str:
    """numpy's letter of a byte order."""
    return "<" if order == "little" else ">"


def leaf_format(leaf: Leaf) -> str:
    """numpy's name of what a leaf holds, bytes of no single number as `V`."""
    if isinstance(leaf, IntegerLeaf) and leaf.size in _WORD_SIZES:
        return f"{sign(leaf.order)}{'i' if leaf.role.signed else 'u'}{leaf.size}"
    if isinstance(leaf, BytesLeaf) and isinstance(leaf.role, Real):
        return f"{sign(leaf.role.order)}f{leaf.size}"
    if isinstance(leaf, BytesLeaf) and isinstance(leaf.role, Text):
        return f"S{leaf.size}"
    return f"V{leaf.size}"


def load(leaf: Leaf, array: Array, offset: int) -> Array:
    """What a leaf holds in every item, bit fields as 64-bit numbers; a view otherwise."""
    if isinstance(leaf, BitsLeaf):
        return _load_bits(leaf, array, offset)
    import numpy as np

    return array.getfield(np.dtype(leaf_format(leaf)), offset)


def _load_bits(leaf: BitsLeaf, array: Array, offset: int) -> Array:
    import numpy as np

    if leaf.size > 8 or leaf.bits > 64:
        raw = array.getfield(np.dtype(f"V{leaf.size}"), offset).reshape(-1).tolist()
        mask = (1 << leaf.bits) - 1
        wide = [int.from_bytes(item, leaf.order) >> leaf.shift & mask for item in raw]
        return np.array(wide, dtype=object).reshape(array.shape)
    octets = array.getfield(np.dtype(("u1", (leaf.size,))), offset)
    whole = np.zeros(array.shape, "u8")
    for index in range(leaf.size):
        place = index if leaf.order == "little" else leaf.size - 1 - index
        whole |= octets[..., index].astype("u8") << np.uint64(8 * place)
    # To the top and back: cuts off what is above, and spreads the sign.
    top = whole << np.uint64(64 - leaf.bits - leaf.shift)
    kind = "i8" if leaf.role.signed else "u8"
    extracted: Array = top.view(kind) >> np.array(64 - leaf.bits, kind)
    return extracted


def combine(leaf: Leaf, column: Array) -> Array:
    """(entries, CPUs) -> entries; numbers are added in 64 bits."""
    import numpy as np

    if column.shape[1] == 1:
        return column[:, 0]
    if leaf.kind_of_sum == "sum" and column.dtype.kind in "iufO":
        wide = {"i": "i8", "u": "u8", "f": "f8"}.get(column.dtype.kind, "O")
        summed: Array = column.sum(axis=1, dtype=wide)
        return summed
    if leaf.kind_of_sum in ("max", "any"):
        latest: Array = column.max(axis=1)
        return latest
    if column.dtype.kind in "VS":
        octets = np.ascontiguousarray(column).view("u1").reshape(*column.shape, -1)
        # Text ends where it begins with NUL.
        used = octets[..., 0] != 0 if column.dtype.kind == "S" else octets.any(axis=2)
    else:
        used = column != 0
    first: Array = column[np.arange(len(column)), used.argmax(axis=1)]
    return first


def column_of(leaf: Leaf, array: Array, offset: int) -> Array:
    """`load`, with the CPUs combined."""
    column = load(leaf, array, offset)
    return combine(leaf, column) if column.ndim == 2 else column


def numbers(node: ArrayNode, array: Array, offset: int) -> Array | None:
    """An array of plain numbers as (entries, count), None for any other."""
    import numpy as np

    leaf = node.element
    plain = isinstance(leaf, IntegerLeaf) and isinstance(leaf.role, Number | Duration)
    if not plain or not isinstance(leaf, IntegerLeaf) or leaf.size not in _WORD_SIZES:
        return None
    if not node.count or (array.ndim == 2 and leaf.kind_of_sum not in ("sum", "max")):
        return None
    found = array.getfield(np.dtype((leaf_format(leaf), (node.count,))), offset)
    if array.ndim == 1:
        return found
    wide = "i8" if leaf.role.signed else "u8"
    latest = leaf.kind_of_sum == "max"
    combined: Array = found.max(axis=1) if latest else found.sum(axis=1, dtype=wide)
    return combined


def leaf_values(leaf: Leaf, column: Array) -> list[Value]:
    """The decoded values of a column of raw ones."""
    role = leaf.role
    raw = column.tolist()
    if isinstance(role, IntegerRole):
        if column.dtype.kind == "V":
            order = leaf.order if isinstance(leaf, IntegerLeaf | BitsLeaf) else "little"
            raw = [int.from_bytes(item, order, signed=role.signed) for item in raw]
        if isinstance(role, Number | Duration):
            return list(raw)
        if isinstance(role, Hexadecimal):
            return list(map(hex, raw))
        if isinstance(role, Boolean) and not (column > 1).any():
            return list((column != 0).tolist())
        return _each_once(role.show, raw)
    return bytes_values(role, column, raw)


def bytes_values(role: BytesRole, column: Array, raw: list[Any]) -> list[Value]:
    """The same for roles of bytes; `raw` is the column as a list."""
    if isinstance(role, Ipv4):
        return _ipv4(column)
    if isinstance(role, Ipv6):
        return _ipv6(column, raw)
    if isinstance(role, Mac):
        return list(map(bytes.hex, raw, repeat(":")))
    if isinstance(role, Prefix):
        return _prefixes(role, column)
    if isinstance(role, Real):
        import numpy as np

        if not np.isfinite(column).all():
            return [item if abs(item) < float("inf") else str(item) for item in raw]
        return raw
    if isinstance(role, Text):
        return _each_once(role.show, raw)
    return list(map(role.show, raw))


def _ipv4(column: Array) -> list[Value]:
    """Two halves from tables: half the time of inet_ntoa() for each."""
    import numpy as np

    if len(column) < 10_000:
        return list(map(socket.inet_ntoa, column.tolist()))
    high, low = _halves()
    halves = np.ascontiguousarray(column).view(">u2").reshape(-1, 2)
    return list((high[halves[:, 0]] + low[halves[:, 1]]).tolist())


@cache
def _halves() -> tuple[Array, Array]:
    import numpy as np

    pairs = [f"{first}.{second}" for first in range(256) for second in range(256)]
    return np.array([f"{pair}." for pair in pairs], object), np.array(pairs, object)


def _ipv6(column: Array, raw: list[bytes]) -> list[Value]:
    import numpy as np

    shown: list[Value] = list(map(socket.inet_ntop, repeat(socket.AF_INET6), raw))
    words = np.ascontiguousarray(column).view(">u4").reshape(-1, 4)
    mapped = (words[:, 0] == 0) & (words[:, 1] == 0) & (words[:, 2] == 0xFFFF)
    for index in np.flatnonzero(mapped).tolist():
        shown[index] = socket.inet_ntoa(raw[index][12:])
    return shown


def _prefixes(role: Prefix, column: Array) -> list[Value]:
    import numpy as np

    whole = np.ascontiguousarray(column)
    lengths = whole.getfield(np.dtype(sign(role.order) + "u4"), 0).tolist()
    raw = whole.getfield(np.dtype(f"V{role.address_size}"), 4).tolist()
    addresses = map(socket.inet_ntop, repeat(role.family), raw)
    return [f"{address}/{length}" for address, length in zip(addresses, lengths, strict=False)]


def _each_once(show: Callable[[_K], _V], raw: Iterable[_K]) -> list[_V]:
    """`show` of each item, worked out once for each that differs."""
    raw = list(raw)
    shown = {item: show(item) for item in set(raw)}
    return list(map(shown.__getitem__, raw))
