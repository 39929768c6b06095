# SPDX-License-Identifier: Apache-2.0
"""Records of an event stream as typed values, arrays or lines of JSON."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from bpfctl.events import records

if TYPE_CHECKING:
    import numpy as np

    from bpfctl.btf import Btf
    from bpfctl.btf.codec import Codec
    from bpfctl.btf.columns import Array
    from bpfctl.btf.parse import ByteOrder
    from bpfctl.maps import Map
    from bpfctl.naming import Naming
    from bpfctl.where import Where
    from bpfctl.wire import EventBatch

_FEW = 64
"""Records up to which importing numpy takes longer than decoding one by one."""


class RecordReader:
    """Reads records of one type; `codec` None: as hexadecimal digits.

    With `where` only those that fulfil it, chosen before anything else is made of them.
    """

    def __init__(
        self,
        codec: Codec | None,
        byteorder: ByteOrder = "little",
        *,
        where: Where | None = None,
    ) -> None:
        self.codec = codec
        self.where = where
        self.byteorder = byteorder
        self.naming: Naming | None = None
        """Puts functions in place of addresses; None: they stay."""

    def rows(self, batch: EventBatch) -> list[dict[str, Any]]:
        """The records of a batch; one that is no struct has its value as "value"."""
        if self.codec is None:
            return [{"data": bytes(raw).hex()} for raw in records(batch, self.byteorder)]
        if self.where is not None or batch.count > _FEW:
            from bpfctl.btf import array

            found = array.rows(self.array(batch), self.codec)
        else:
            size, decode = self.codec.size, self.codec.decode
            found = [
                decode(raw if len(raw) >= size else bytes(raw).ljust(size, b"\0"))
                for raw in records(batch, self.byteorder)
            ]
        if not self.codec.fields:
            return [{"value": value} for value in found]
        if self.naming is not None:
            self.naming.name(found)
        return found

    def json_lines(self, batch: EventBatch) -> bytes:
        """A line of JSON for each record: the text of `rows`, made in bulk."""
        import json

        known = self.codec is not None and self.codec.fields and self.naming is None
        many = self.where is not None or batch.count > _FEW
        if known and self.codec is not None and many:
            from bpfctl.btf import array

            return array.json_lines(self.array(batch), self.codec)
        lines = (
            json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            for row in self.rows(batch)
        )
        return "".join(f"{line}\n" for line in lines).encode()

    def array(self, batch: EventBatch) -> Array:
        """The records of a batch as one numpy array, a view of its data where they are
        all alike."""
        from bpfctl.btf.events import decode_events

        found = decode_events(
            batch.data, batch.record_size, batch.count, self.dtype, self.byteorder
        )
        return found if self.where is None else self.where.select(found)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `array`; raises InvalidArgument where the records have no type."""
        from bpfctl.btf import array
        from bpfctl.errors import InvalidArgument

        if self.codec is None:
            raise InvalidArgument("type of the events", "is not known; name their struct")
        return array.codec_dtype(self.codec)


def reader(
    ring: Map, type_name: str = "", *, plain: bool = False, where: str = ""
) -> RecordReader:
    """The reader of a ring's records: of the struct `type_name`, of the one that the
    object was loaded with, or of the one that `bpfctl.event_types` finds in its BTF.

    `where` is a condition on their fields (`bpfctl.where`).

    Raises InvalidArgument for a type that the object does not have, and for a condition
    that does not fit the type.
    """
    found = _reader(ring, type_name, plain)
    if where:
        from bpfctl.errors import InvalidArgument
        from bpfctl.where import Where

        if found.codec is None:
            raise InvalidArgument(
                "where", f"the type of the events of {ring.name} is not known; name it"
            )
        found.where = Where(where, found.codec)
    return found


def _reader(ring: Map, type_name: str, plain: bool) -> RecordReader:
    from bpfctl import event_types
    from bpfctl.errors import InvalidArgument

    byteorder: ByteOrder = "big" if ring.target.info().big_endian else "little"
    btf = ring.records_btf
    if btf is None:
        if type_name:
            raise InvalidArgument(
                "type of the events", f"{ring.name} and its programs have no BTF"
            )
        return RecordReader(None, byteorder)
    from bpfctl.btf import Codec

    name = ring.info.member or ring.info.name
    type_name = type_name or ring.record_type
    type_id = event_types.named(btf, type_name) if type_name else event_types.guess(btf, name)
    codec = Codec(btf, type_id, plain=plain) if type_id else None
    return RecordReader(codec, byteorder)


def _types(ring: Map) -> Btf | None:
    """BTF of the object that made a ring: the ring's own, or that of a program that uses it.

    libbpf creates maps without key and value types without BTF.
    """
    if ring.btf is not None:
        return ring.btf
    for program in ring.target.programs():
        if program.btf_id and ring.info.id in program.map_ids:
            return ring.target.btf.of_id(program.btf_id)
    return None
