# SPDX-License-Identifier: Apache-2.0
"""Records for the programs that drain a user ring buffer (bpf_user_ringbuf_drain)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from bpfctl.errors import InvalidArgument, LimitExceeded

if TYPE_CHECKING:
    from bpfctl.maps import Map

_BATCH_BYTES = 16 << 20
_BATCH_RECORDS = 1 << 16


def packed(records: Iterable[bytes], *, big_endian: bool = False) -> bytes:
    """Records with the headers and padding of `SubmitRequest`. Pure."""
    order = ">" if big_endian else "<"
    parts = []
    for record in records:
        padding = -len(record) % 8
        parts.append(struct.pack(f"{order}II", len(record), 0) + record + bytes(padding))
    return b"".join(parts)


def submit_raw(ring: Map, records: list[bytes]) -> int:
    """Writes records as far as they fit, in one call; gives their number."""
    from bpfd.v1 import maps_pb2

    data = packed(records, big_endian=ring.target.info().big_endian)
    rpc = ring.target.rpc
    request = maps_pb2.SubmitRequest(map=ring.ref, records=data)
    return rpc.call(rpc.maps.Submit, request, "Maps.Submit").submitted


def submit(ring: Map, values: Iterable[object], type_name: str = "") -> int:
    """Writes values of the records' type; gives their number.

    The type is `type_name`, or found as that of events is (`bpfctl.records.reader`); bytes
    are taken as they are. Raises LimitExceeded, with the number that was written, when the
    ring is full.
    """
    from bpfctl.records import reader

    codec = reader(ring, type_name).codec

    def encoded(value: object) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, str) and value.startswith("hex:"):
            try:
                return bytes.fromhex(value[4:])
            except ValueError:
                raise InvalidArgument("value", f"{value!r} is no hexadecimal text") from None
        if codec is None:
            raise InvalidArgument(
                "type of the records", f"{ring.name} does not say it: name a struct, or hex:..."
            )
        return codec.encode(value, "value")

    remaining = (encoded(value) for value in values)
    done = 0
    while batch := _batch(remaining):
        written = submit_raw(ring, batch)
        done += written
        if written < len(batch):
            raise LimitExceeded(
                f"bytes of user ring buffer {ring.name}",
                ring.info.max_entries,
                done=done,
                hint="it is full until a program drains it; send the rest again then",
            )
    return done


def _batch(records: Iterable[bytes]) -> list[bytes]:
    batch, size = [], 0
    for record in islice(records, _BATCH_RECORDS):
        batch.append(record)
        size += len(record) + 16
        if size >= _BATCH_BYTES:
            break
    return batch
