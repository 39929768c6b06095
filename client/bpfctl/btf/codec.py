# SPDX-License-Identifier: Apache-2.0
"""Values of a BTF type: bytes <-> Python <-> what a person reads and types.

How each type is shown is written down in display.py, how composites are typed in text.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from bpfctl.btf.btf import Btf
from bpfctl.btf.bytesroles import Prefix, RawBytes
from bpfctl.btf.composites import PrefixLeaf, StructNode
from bpfctl.btf.display import build
from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.nodes import BytesLeaf, IntegerLeaf, Node, NothingLeaf
from bpfctl.btf.parse import ByteOrder
from bpfctl.btf.roles import Number, Value

MAX_VALUE_BYTES = 1 << 28
"""The largest type that a codec is made for; a damaged BTF may name any size."""


class Codec:
    """Reads and writes values of one type. Has no state: use it from any thread."""

    def __init__(
        self, btf: Btf, type_id: int, *, plain: bool = False, lpm: bool | None = None
    ) -> None:
        """`plain`: numbers instead of addresses and ports. `lpm`: whether the type is a key
        of an LPM trie; None decides by the names of its members.

        Raises BtfError where the BTF does not hold the type or the type is damaged, and
        BtfValueError for one larger than MAX_VALUE_BYTES.
        """
        self._set(build(btf, type_id, plain, lpm), btf.byteorder)

    def _set(self, node: Node, byteorder: ByteOrder) -> None:
        if node.size > MAX_VALUE_BYTES:
            raise BtfValueError(
                "",
                f"{node.name} has {node.size} bytes; values of {MAX_VALUE_BYTES} are the limit",
            )
        self.node = node
        self.byteorder: ByteOrder = byteorder

    @classmethod
    def raw(cls, size: int, byteorder: ByteOrder = "little", *, lpm: bool = False) -> Codec:
        """A codec without BTF: 1, 2, 4 and 8 bytes are an unsigned number, others `hex:`.

        With `lpm` 8 and 20 bytes are a prefix.
        """
        node: Node
        if lpm and size in (8, 20):
            node = PrefixLeaf(Prefix(f"key of {size} bytes", size - 4, byteorder), None)
        elif size in (1, 2, 4, 8):
            title = f"u{8 * size}"
            role = Number(title, 8 * size, False, byteorder)
            node = IntegerLeaf(title, size, byteorder, role)
        elif size:
            node = BytesLeaf(RawBytes(f"{size} bytes", size))
        else:
            node = NothingLeaf("nothing")
        codec = cls.__new__(cls)
        codec._set(node, byteorder)
        return codec

    @classmethod
    def of(
        cls,
        btf: Btf | None,
        type_id: int,
        size: int,
        *,
        byteorder: ByteOrder = "little",
        plain: bool = False,
        lpm: bool | None = None,
    ) -> Codec:
        """The codec for keys or values of a map: by BTF where there is one and its type has
        the size that the map says, else the raw one. `byteorder` is for the raw one."""
        if btf is not None and type_id:
            codec = cls(btf, type_id, plain=plain, lpm=lpm)
            if codec.size == size:
                return codec
            byteorder = btf.byteorder
        return cls.raw(size, byteorder, lpm=bool(lpm) and not plain)

    def __repr__(self) -> str:
        return f"<Codec of {self.type_name}, {self.size} bytes>"

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return self.node.size

    @property
    def type_name(self) -> str:
        """The type as C writes it."""
        return self.node.name

    @property
    def accepts(self) -> str:
        """In a few words, what `parse` takes."""
        return self.node.accepts

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of a struct, as in the dict of `decode`; () for the rest."""
        node = self.node
        return (
            tuple(field.name for field in node.fields) if isinstance(node, StructNode) else ()
        )

    def decode(self, data: bytes | bytearray | memoryview) -> Value:
        """The value as what JSON knows: dict, list, int, float, bool, str or None.

        Bytes behind the value (padding of per-CPU maps) are left alone. Raises
        BtfValueError when there are too few.
        """
        data = bytes(data)
        if len(data) < self.size:
            raise BtfValueError("", f"{self.type_name} has {self.size} bytes, got {len(data)}")
        return self.node.decode(data, 0)

    def decode_cpus(self, data: bytes | bytearray | memoryview, stride: int) -> list[Value]:
        """The value of each CPU of a per-CPU map, `stride` bytes apart."""
        if stride < max(1, self.size) or len(data) % stride:
            raise BtfValueError(
                "", f"{len(data)} bytes are not values of {self.type_name} every {stride} bytes"
            )
        whole = bytes(data)
        return [self.node.decode(whole, at) for at in range(0, len(whole), stride)]

    def combine(self, values: Sequence[Value]) -> Value:
        """One value of those of all CPUs: numbers and durations added, flags or-ed, the
        latest of times; of addresses, text, names, ids in hex the first that is not zero."""
        if not values:
            raise BtfValueError("", "there are no values to combine")
        return self.node.combine(values)

    def encode(self, value: object, field: str = "") -> bytes:
        """The bytes of a value as `decode` gives it, of bytes, or of typed text.

        A `str` is what a person typed; text inside of a dict or list is taken as it is.
        Fields that are not given are zero. Raises BtfValueError with the path of the field
        that is wrong, below `field`.
        """
        out = bytearray(self.size)
        self.node.write(value, out, 0, field)
        return bytes(out)

    def parse(self, text: str, field: str = "") -> bytes:
        """The bytes of what a person typed; see `encode`. Takes all that `format` gives."""
        return self.encode(text, field)

    def format(self, value: Value) -> str:
        """A value of `decode` as one line: `field=value field=value` for structs."""
        return self.node.format(value)

    render = format
