# SPDX-License-Identifier: Apache-2.0
"""Bulk: map dumps and event batches as numpy arrays, and arrays as rows.

Arrays are views of the bytes that came over the wire; nothing is copied before a value is
looked at. numpy is imported by the first call.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from bpfctl.btf import columns
from bpfctl.btf.btf import Btf
from bpfctl.btf.bytesroles import Ipv4, Prefix
from bpfctl.btf.codec import Codec
from bpfctl.btf.composites import ArrayNode, StructNode
from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.jsonlines import join, json_pieces
from bpfctl.btf.nodes import BytesLeaf, IntegerLeaf, Leaf, Node
from bpfctl.btf.roles import Boolean, Value
from bpfctl.btf.rows import Row
from bpfctl.btf.text import split_path

if TYPE_CHECKING:
    import numpy as np

    from bpfctl.btf.columns import Array
    from bpfctl.btf.jsonlines import Pieces

_CHUNK = 1 << 16
"""Rows that are made at once: what is in work stays in the caches."""


def dtype(btf: Btf, type_id: int, *, plain: bool = False) -> np.dtype[Any]:
    """The numpy type of a BTF type; see `codec_dtype`."""
    return codec_dtype(Codec(btf, type_id, plain=plain))


def codec_dtype(codec: Codec) -> np.dtype[Any]:
    """A numpy type of exactly the C layout: offsets, padding, byte order, itemsize.

    Fields of anonymous members are among those of the struct; those of a union overlap.
    IPv4 addresses and ports are big endian numbers; IPv6, MAC and raw bytes are `u1` arrays;
    char arrays are `S`. A bit field is the whole of the bytes that hold it: `column()`
    extracts it. A type that is itself an array, and one of no single number, is `V`.
    """
    import numpy as np

    spec = _spec(codec.node)
    single = np.dtype(spec if spec is not None else "V0")
    return np.dtype(f"V{codec.size}") if single.subdtype else single


def _spec(node: Node) -> Any:
    """What np.dtype() takes for a node; None for one without bytes."""
    if not node.size:
        return None
    if isinstance(node, StructNode):
        fields = [field for field in node.fields if field.node.size]
        return {
            "names": [field.name for field in fields],
            "formats": [_spec(field.node) for field in fields],
            "offsets": [field.offset for field in fields],
            "itemsize": node.size,
        }
    if isinstance(node, ArrayNode):
        element = _spec(node.element)
        if isinstance(element, tuple):
            return (element[0], (node.count, *element[1]))
        return (element, (node.count,))
    if isinstance(node, BytesLeaf) and isinstance(node.role, Prefix):
        length = columns.sign(node.role.order) + "u4"
        return [("prefixlen", length), ("address", "u1", (node.role.address_size,))]
    return _leaf_spec(node)


def _leaf_spec(node: Node) -> Any:
    if isinstance(node, BytesLeaf) and isinstance(node.role, Ipv4):
        return ">u4"
    if isinstance(node, IntegerLeaf) and isinstance(node.role, Boolean) and node.size == 1:
        return "?"
    if isinstance(node, IntegerLeaf | BytesLeaf):
        known = columns.leaf_format(node)
        if known[0] != "V":
            return known
    elif node.size in (1, 2, 4, 8):
        return f"{columns.sign(getattr(node, 'order', 'little'))}u{node.size}"
    return ("u1", (node.size,))


def from_bytes(data: bytes | memoryview, codec: Codec) -> Array:
    """Values back to back as an array of `codec_dtype`; a view.

    Raises BtfValueError when the data is not a whole number of values.
    """
    import numpy as np

    if not codec.size:
        return np.empty(0, "V0")
    if len(data) % codec.size:
        raise BtfValueError(
            "", f"{len(data)} bytes are not a whole number of {codec.type_name} ({codec.size})"
        )
    return np.frombuffer(data, codec_dtype(codec))


def decode_dump(
    keys: bytes | memoryview,
    values: bytes | memoryview,
    key: Codec,
    value: Codec,
    *,
    cpus: int = 0,
    stride: int = 0,
) -> tuple[Array, Array]:
    """Keys and values of a map as two views of the same number of entries.

    Values of a per-CPU map (`cpus` > 0, each CPU's value `stride` bytes behind the one
    before, 0: the size rounded up to 8) have the shape (entries, cpus).

    Raises BtfValueError when the lengths do not fit each other.
    """
    import numpy as np

    if not cpus:
        value_array = from_bytes(values, value)
    else:
        stride = stride or (value.size + 7) & ~7
        if stride < value.size or not stride or len(values) % (cpus * stride):
            raise BtfValueError(
                "", f"{len(values)} bytes are not values of {cpus} CPUs, {stride} bytes each"
            )
        shape = (len(values) // (cpus * stride), cpus)
        value_array = np.ndarray(shape, codec_dtype(value), values, 0, (cpus * stride, stride))
    key_array = from_bytes(keys, key) if key.size else np.empty(len(value_array), "V0")
    if len(key_array) != len(value_array):
        raise BtfValueError("", f"{len(key_array)} keys came with {len(value_array)} values")
    return key_array, value_array


def column(array: Array, codec: Codec, path: str) -> Array:
    """One field of every item by its path (`addr.port`, `slots[3]`), of the array's shape.

    Numbers as numbers, bit fields extracted, IPv4 addresses as big endian numbers, MAC and
    IPv6 addresses as `V`, text as `S`. Raises BtfValueError for a field that is not there
    or is not a single value.
    """
    node: Node = codec.node
    offset = 0
    for step in split_path(path):
        if isinstance(node, StructNode):
            field = node.child(step)
            node, offset = field.node, offset + field.offset
        elif isinstance(node, ArrayNode):
            offset += node.place(step, path)
            node = node.element
        else:
            raise BtfValueError(path, f"{node.name} has no part {step!r}")
    if not isinstance(node, Leaf):
        raise BtfValueError(path, f"{node.name} is not a single value")
    found = columns.load(node, array, offset)
    if isinstance(node, BytesLeaf) and isinstance(node.role, Ipv4):
        return array.getfield(">u4", offset)
    return found


def sum_cpus(array: Array, codec: Codec) -> Array:
    """(entries, CPUs) -> entries: numbers are added in 64 bits, the latest time is taken,
    flags are or-ed, of all else the first CPU's that is not zero.

    The result has the names of `codec_dtype` and a layout of its own: use `rows(...,
    total=True)` for rows.
    """
    return _summed(codec.node, array, 0)


def _summed(node: Node, array: Array, offset: int) -> Array:
    import numpy as np

    if isinstance(node, StructNode):
        parts = {
            field.name: _summed(field.node, array, offset + field.offset)
            for field in node.fields
            if field.node.size
        }
        result = np.empty(
            len(array), [(name, part.dtype, part.shape[1:]) for name, part in parts.items()]
        )
        for name, part in parts.items():
            result[name] = part
        return result
    if isinstance(node, ArrayNode):
        size = node.element.size
        elements = [_summed(node.element, array, offset + i * size) for i in range(node.count)]
        return np.stack(elements, axis=1)
    assert isinstance(node, Leaf)
    raw = columns.column_of(node, array, offset)
    if isinstance(node, BytesLeaf) and isinstance(node.role, Ipv4):
        return raw.view(">u4")
    if raw.dtype.kind == "V":
        return np.ascontiguousarray(raw).view("u1").reshape(len(raw), node.size)
    return raw


def rows(array: Array, codec: Codec, *, total: bool = False) -> list[Value]:
    """What `codec.decode` gives for every item, column by column.

    Of an array (entries, CPUs) a list of lists, or with `total` one value of each entry,
    combined as Codec.combine() says.
    """
    _check(array, codec)
    if array.ndim == 2 and not total:
        flat = rows(array.reshape(-1), codec)
        width = array.shape[1]
        return [flat[at : at + width] for at in range(0, len(flat), width)]
    return list(
        chain.from_iterable(_rows(codec, array[at : at + _CHUNK]) for at in _starts(array))
    )


def dump_rows(
    keys: Array, values: Array, key: Codec, value: Codec, *, total: bool = False
) -> list[Value]:
    """Rows `{"key": ..., "value": ...}` of what `decode_dump` gave.

    Per-CPU values are a list, or with `total` one value.
    """
    _check(keys, key)
    _check(values, value)
    made: list[Value] = []
    for at in _starts(keys):
        row = Row()
        some = values[at : at + _CHUNK]
        parts = [row.expression(key.node, keys[at : at + _CHUNK])]
        if some.ndim == 1 or total:
            parts.append(row.expression(value.node, some))
        else:
            cpus = [row.expression(value.node, some[:, cpu]) for cpu in range(some.shape[1])]
            parts.append(f"[{', '.join(cpus)}]")
        made += row.make(f"{{'key': {parts[0]}, 'value': {parts[1]}}}", len(some))
    return made


def _rows(codec: Codec, array: Array) -> list[Value]:
    row = Row()
    return row.make(row.expression(codec.node, array), len(array))


def _starts(array: Array) -> range:
    return range(0, len(array), _CHUNK)


def json_lines(array: Array, codec: Codec, *, total: bool = False) -> bytes:
    """One line of JSON for every item, the text of `rows` without the objects in between."""
    _check(array, codec)
    return b"".join(
        join(_pieces(codec, array[at : at + _CHUNK], total), len(array[at : at + _CHUNK]))
        for at in _starts(array)
    )


def dump_json_lines(
    keys: Array, values: Array, key: Codec, value: Codec, *, total: bool = False
) -> bytes:
    """Lines `{"key": ..., "value": ...}` of what `decode_dump` gave."""
    _check(keys, key)
    _check(values, value)
    lines = []
    for at in _starts(keys):
        some = keys[at : at + _CHUNK]
        pieces: Pieces = [b'{"key":', *_pieces(key, some, False), b',"value":']
        pieces += [*_pieces(value, values[at : at + _CHUNK], total), b"}"]
        lines.append(join(pieces, len(some)))
    return b"".join(lines)


def _check(array: Array, codec: Codec) -> None:
    if array.itemsize < codec.size or array.ndim not in (1, 2):
        raise BtfValueError(
            "",
            f"an array of {array.itemsize}-byte items in {array.ndim} dimensions does not hold "
            f"{codec.type_name} ({codec.size} bytes)",
        )


def _pieces(codec: Codec, array: Array, total: bool) -> Pieces:
    if array.ndim == 1 or total:
        return json_pieces(codec.node, array)
    pieces: Pieces = [b"["]
    for cpu in range(array.shape[1]):
        pieces += [b","] if cpu else []
        pieces += json_pieces(codec.node, array[:, cpu])
    return [*pieces, b"]"]
