# SPDX-License-Identifier: Apache-2.0
"""Arrays of C layout -> lines of JSON, without Python objects in between.

Every column becomes a matrix of characters, one row for each item, shorter texts filled up
with zero bytes; the matrices are put side by side and the zero bytes are taken out. JSON
text has no zero byte of its own.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from bpfctl.btf.bytesroles import Arguments, BytesRole, Ipv4, Mac, Real, Text
from bpfctl.btf.columns import column_of, leaf_values
from bpfctl.btf.composites import ArrayNode, StructNode
from bpfctl.btf.nodes import Leaf, Node
from bpfctl.btf.roles import Duration, Hexadecimal, Number

if TYPE_CHECKING:
    from bpfctl.btf.columns import Array

    Pieces = list[bytes | Array]

_DIGITS = 4
"""Decimal digits that are taken from a number at once, from a table."""


def json_pieces(node: Node, array: Array, offset: int = 0) -> Pieces:
    """The JSON of every item: bytes that all have, and matrices of characters.

    `array` as in columns.py.
    """
    import orjson

    if isinstance(node, StructNode):
        pieces: Pieces = []
        for field in node.fields:
            head = b"," if pieces else b"{"
            pieces.append(head + orjson.dumps(field.name) + b":")
            pieces += json_pieces(field.node, array, offset + field.offset)
        return [*pieces, b"}" if pieces else b"{}"]
    if isinstance(node, ArrayNode):
        pieces = [b"["]
        for index in range(node.count):
            pieces += [b","] if index else []
            pieces += json_pieces(node.element, array, offset + index * node.element.size)
        return [*pieces, b"]"]
    if isinstance(node, Leaf) and node.size:
        return _leaf_pieces(node, column_of(node, array, offset))
    return [orjson.dumps(node.decode(b"", 0))]


def join(pieces: Pieces, count: int) -> bytes:
    """The rows, each ended by a newline."""
    import numpy as np

    widths = [len(p) if isinstance(p, bytes) else p.shape[1] for p in [*pieces, b"\n"]]
    text = np.empty((count, sum(widths)), "u1")
    at = 0
    for piece, width in zip([*pieces, b"\n"], widths, strict=True):
        text[:, at : at + width] = (
            np.frombuffer(piece, "u1") if isinstance(piece, bytes) else piece
        )
        at += width
    return text.tobytes().translate(None, b"\0")


def _leaf_pieces(leaf: Leaf, column: Array) -> Pieces:

    role = leaf.role
    if isinstance(role, Number | Duration) and column.dtype.kind in "iu":
        return [decimal(column)]
    if isinstance(role, Ipv4):
        return [b'"', _octets(_decimal_octets(), column, 4), b'"']
    if isinstance(role, Mac):
        return [b'"', _octets(_hex_octets(), column, 6), b'"']
    if isinstance(role, Hexadecimal) or (
        isinstance(role, BytesRole) and not isinstance(role, Text | Real | Arguments)
    ):
        # Addresses and hex digits: nothing in them needs an escape.
        shown = leaf_values(leaf, column)
        return [b'"', _matrix("\n".join(shown).encode().split(b"\n")), b'"']
    return [_each_once(leaf, column)]


def _each_once(leaf: Leaf, column: Array) -> Array:
    """The matrix of a column, worked out once for each item that differs."""
    import numpy as np
    import orjson

    raw = column.tolist()
    places = {item: place for place, item in enumerate(dict.fromkeys(raw))}
    different = np.array(list(places), column.dtype)
    table = _matrix(list(map(orjson.dumps, leaf_values(leaf, different))))
    chosen: Array = table[np.fromiter(map(places.__getitem__, raw), "i8", len(raw))]
    return chosen


def _matrix(texts: list[bytes]) -> Array:
    import numpy as np

    fixed = np.array(texts, "S")
    return fixed.view("u1").reshape(len(texts), fixed.itemsize)


def decimal(column: Array) -> Array:
    """Integers as a matrix of their decimal digits."""
    import numpy as np

    negative = column < 0
    # The absolute value of the lowest number of 64 bits fits into 64 bits without a sign.
    rest = column.astype("u8")
    if column.dtype.kind == "i":
        rest = np.where(negative, ~rest + np.uint64(1), rest)
    largest = int(rest.max(initial=0))
    if largest < 1 << 32:
        rest = rest.astype("u4")
    parts: list[Array] = []
    base = rest.dtype.type(10**_DIGITS)
    table = _digit_table()
    while True:
        higher = rest // base
        low = (rest - higher * base).astype("u2")
        # The second half of the table has no zeros in front of the first digit that counts.
        part = table[np.where(higher > 0, low, low + np.uint16(10**_DIGITS))]
        if parts:
            part[rest == 0] = 0
        parts.append(part)
        largest //= 10**_DIGITS
        if not largest:
            break
        rest = higher
    if negative.any():
        parts.append(np.where(negative, ord("-"), 0).astype("u1")[:, None])
    return np.concatenate(parts[::-1], axis=1)


@cache
def _digit_table() -> Array:
    import numpy as np

    size = 10**_DIGITS
    full = [f"{number:0{_DIGITS}d}" for number in range(size)]
    short = [f"{number}".rjust(_DIGITS, "\0") for number in range(size)]
    return np.frombuffer("".join(full + short).encode(), "u1").reshape(2 * size, _DIGITS)


def _octets(table: Array, column: Array, size: int) -> Array:
    """Octets by a table that ends each with a separator; the last one is left out."""
    import numpy as np

    raw = np.ascontiguousarray(column).view("u1").reshape(-1, size)
    text: Array = table[raw].reshape(len(raw), -1)
    return text[:, :-1]


@cache
def _decimal_octets() -> Array:
    import numpy as np

    texts = "".join(f"{octet}".rjust(3, "\0") + "." for octet in range(256))
    return np.frombuffer(texts.encode(), "u1").reshape(256, 4)


@cache
def _hex_octets() -> Array:
    import numpy as np

    texts = "".join(f"{octet:02x}:" for octet in range(256))
    return np.frombuffer(texts.encode(), "u1").reshape(256, 3)
