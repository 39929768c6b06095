# SPDX-License-Identifier: Apache-2.0
"""Whole columns at once: numpy arrays of C layout -> lists of values and pieces of JSON.

Every function takes an array whose items are values of a tree (display.py), of one
dimension, or of two (entries, CPUs) where the CPUs are to be combined into one value.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from bpfctl.btf.bytesroles import BytesRole, Ipv4, Ipv6, Mac, Prefix, Real, Text
from bpfctl.btf.composites import ArrayNode, StructNode
from bpfctl.btf.nodes import BitsLeaf, BytesLeaf, IntegerLeaf, Leaf, Node
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
        used = octets.any(axis=2)
    else:
        used = column != 0
    first: Array = column[np.arange(len(column)), used.argmax(axis=1)]
    return first


def column_of(leaf: Leaf, array: Array, offset: int) -> Array:
    """`load`, with the CPUs combined."""
    column = load(leaf, array, offset)
    return combine(leaf, column) if column.ndim == 2 else column


def values(node: Node, array: Array, offset: int = 0) -> list[Value]:
    """The decoded value of every item: what Codec.decode() gives for each."""
    if isinstance(node, StructNode):
        names = [field.name for field in node.fields]
        if not names:
            return [{} for _ in range(len(array))]
        columns = [values(field.node, array, offset + field.offset) for field in node.fields]
        return [dict(zip(names, row, strict=False)) for row in zip(*columns, strict=False)]
    if isinstance(node, ArrayNode):
        numbers = _numbers(node, array, offset)
        if numbers is not None:
            return list(numbers.tolist())
        if not node.count:
            return [[] for _ in range(len(array))]
        step = node.element.size
        columns = [
            values(node.element, array, offset + index * step) for index in range(node.count)
        ]
        return list(map(list, zip(*columns, strict=False)))
    if isinstance(node, Leaf) and node.size:
        return leaf_values(node, column_of(node, array, offset))
    return [node.decode(b"", 0)] * len(array)


def _numbers(node: ArrayNode, array: Array, offset: int) -> Array | None:
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
        return list(map(socket.inet_ntoa, raw))
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


Pieces = list[bytes | Sequence[bytes]]
"""JSON of a column: what is the same in every row as bytes, what differs as a list."""


def json_pieces(node: Node, array: Array, offset: int = 0) -> Pieces:
    """The JSON text of every item, in pieces that are to be joined row by row."""
    import orjson

    if isinstance(node, StructNode):
        pieces: Pieces = []
        for field in node.fields:
            head = b"," if pieces else b"{"
            pieces.append(head + orjson.dumps(field.name) + b":")
            pieces += json_pieces(field.node, array, offset + field.offset)
        return [*pieces, b"}" if pieces else b"{}"]
    if isinstance(node, ArrayNode):
        numbers = _numbers(node, array, offset)
        if numbers is not None:
            text = _dump_numbers(numbers)
            return [b"[", text[2:-2].split(b"],["), b"]"] if len(array) else [b"[]"]
        pieces = [b"["]
        for index in range(node.count):
            pieces += [b","] if index else []
            pieces += json_pieces(node.element, array, offset + index * node.element.size)
        return [*pieces, b"]"]
    if isinstance(node, Leaf) and node.size:
        return _leaf_pieces(node, column_of(node, array, offset))
    return [orjson.dumps(node.decode(b"", 0))]


def _leaf_pieces(leaf: Leaf, column: Array) -> Pieces:
    import orjson

    role = leaf.role
    if isinstance(role, Number | Duration | Real) and column.dtype.kind in "iuf":
        import numpy as np

        if column.dtype.kind != "f" or np.isfinite(column).all():
            return [_dump_numbers(column)[1:-1].split(b",")]
    shown = leaf_values(leaf, column)
    if isinstance(role, Hexadecimal) or (
        isinstance(role, BytesRole) and not isinstance(role, Text | Real)
    ):
        # Addresses and hex digits: nothing in them needs an escape.
        return [b'"', "\n".join(shown).encode().split(b"\n"), b'"']
    return [
        _each_once(orjson.dumps, shown) if _hashable(shown) else list(map(orjson.dumps, shown))
    ]


def _hashable(shown: list[Value]) -> bool:
    """Whether equal items are of one type: 1 and True are equal and differ in JSON."""
    return len({type(item) for item in shown}) == 1


def _dump_numbers(column: Array) -> bytes:
    import numpy as np
    import orjson

    # float32 as double, as decode() has them.
    native_type = "f8" if column.dtype.kind == "f" else column.dtype.newbyteorder("=")
    native = np.ascontiguousarray(column, dtype=native_type)
    return orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY)
