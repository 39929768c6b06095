# SPDX-License-Identifier: Apache-2.0
"""Arrays of C layout -> columns of Arrow, by the roles of BTF.

Integers keep their width and sign; a flag is a boolean, a pointer an unsigned integer, a
duration a duration (ns), floating point stays so. Text, addresses and names of enums are
strings as everywhere else, bytes of no known meaning are binary. A struct is a struct, an array
a list of fixed length. Times since boot are unsigned integers with `unit` and `clock` in the
metadata of their field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.btf.bytesroles import RawBytes, Real
from bpfctl.btf.columns import leaf_values, load, numbers
from bpfctl.btf.composites import ArrayNode, StructNode
from bpfctl.btf.nodes import BitsLeaf, BytesLeaf, IntegerLeaf, Leaf, Node
from bpfctl.btf.roles import Boolean, Duration, Hexadecimal, Number
from bpfctl.export import needed

if TYPE_CHECKING:
    import pyarrow

    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array

_SINCE_BOOT = {"unit": "ns", "clock": "since boot"}


def schema(codec: Codec) -> pyarrow.Schema:
    """The columns of records of a type; one that is no struct is the column "value"."""
    pa: Any = needed("pyarrow", "parquet")
    return pa.schema(_fields(pa, codec.node))


def table(array: Array, codec: Codec, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """The items of an array of `codec_dtype` as rows of `schema`."""
    pa: Any = needed("pyarrow", "parquet")
    node = codec.node
    if not isinstance(node, StructNode):
        return pa.record_batch([_column(pa, node, array, 0)], schema=schema)
    fields = [field for field in node.fields if _kept(field.node)]
    arrays = [_column(pa, field.node, array, field.offset) for field in fields]
    return pa.record_batch(arrays, schema=schema)


def _kept(node: Node) -> bool:
    """Whether a part has a value: Parquet has no struct without fields."""
    if isinstance(node, StructNode):
        return any(_kept(field.node) for field in node.fields)
    if isinstance(node, ArrayNode):
        return node.count > 0 and _kept(node.element)
    return node.size > 0


def _fields(pa: Any, node: Node) -> list[Any]:
    if not isinstance(node, StructNode):
        return [pa.field("value", _type(pa, node), nullable=False)]
    return [
        pa.field(
            field.name,
            _type(pa, field.node),
            nullable=False,
            metadata=_SINCE_BOOT if _clock(field.node) else None,
        )
        for field in node.fields
        if _kept(field.node)
    ]


def _clock(node: Node) -> bool:
    return isinstance(node, Leaf) and isinstance(node.role, Duration) and node.role.clock


def _type(pa: Any, node: Node) -> Any:
    if isinstance(node, StructNode):
        return pa.struct(_fields(pa, node))
    if isinstance(node, ArrayNode):
        return pa.list_(
            pa.field("element", _type(pa, node.element), nullable=False), node.count
        )
    if isinstance(node, BytesLeaf):
        if isinstance(node.role, Real):
            return pa.float32() if node.size == 4 else pa.float64()
        return pa.binary(node.size) if isinstance(node.role, RawBytes) else pa.string()
    if isinstance(node, IntegerLeaf | BitsLeaf):
        if isinstance(node.role, Boolean):
            return pa.bool_()
        if isinstance(node.role, Duration) and not node.role.clock:
            return pa.duration("ns")
        bits = _bits(node)
        if bits and isinstance(node.role, Number | Duration | Hexadecimal):
            return getattr(pa, f"{'' if node.role.signed else 'u'}int{bits}")()
    return pa.string()


def _bits(node: IntegerLeaf | BitsLeaf) -> int:
    """Bits of the integer that holds the value; 0: there is none so wide."""
    used = node.bits if isinstance(node, BitsLeaf) else 8 * node.size
    return next((bits for bits in (8, 16, 32, 64) if used <= bits), 0)


def _column(pa: Any, node: Node, array: Array, offset: int) -> Any:
    if isinstance(node, StructNode):
        fields = [field for field in node.fields if _kept(field.node)]
        arrays = [_column(pa, field.node, array, offset + field.offset) for field in fields]
        return pa.StructArray.from_arrays(arrays, fields=list(_type(pa, node)))
    if isinstance(node, ArrayNode):
        values = _elements(pa, node, array, offset)
        return pa.FixedSizeListArray.from_arrays(values, type=_type(pa, node))
    assert isinstance(node, Leaf)
    return _leaf(pa, node, array, offset)


def _elements(pa: Any, node: ArrayNode, array: Array, offset: int) -> Any:
    """The elements of all items, item by item."""
    import numpy as np

    kind = _type(pa, node.element)
    if (plain := numbers(node, array, offset)) is not None and pa.types.is_integer(kind):
        native = np.ascontiguousarray(plain, plain.dtype.newbyteorder("=")).reshape(-1)
        return pa.array(native, type=kind)
    size = node.element.size
    parts = [
        _column(pa, node.element, array, offset + index * size) for index in range(node.count)
    ]
    order = np.arange(node.count * len(array)).reshape(node.count, len(array)).T.reshape(-1)
    return pa.concat_arrays(parts).take(pa.array(order))


def _leaf(pa: Any, leaf: Leaf, array: Array, offset: int) -> Any:
    import numpy as np

    kind = _type(pa, leaf)
    found = load(leaf, array, offset)
    if pa.types.is_string(kind):
        return pa.array([str(value) for value in leaf_values(leaf, found)], kind)
    if pa.types.is_fixed_size_binary(kind):
        return pa.array(found.tolist(), kind)
    if pa.types.is_boolean(kind):
        return pa.array(found != 0, kind)
    if pa.types.is_duration(kind):
        wide = found.astype("u8").view("i8") if found.dtype.kind == "u" else found
        return pa.array(wide.astype("i8").view("m8[ns]"), kind)
    return pa.array(np.ascontiguousarray(found).astype(kind.to_pandas_dtype()), kind)
