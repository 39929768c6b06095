# SPDX-License-Identifier: Apache-2.0
"""Records of a type that has a field of every kind, as an event stream brings them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from bpfctl.btf import Codec
from bpfctl.btf.kinds import IntEncoding, Kind
from bpfctl.btf.parse import ByteOrder
from bpfctl.wire import EventBatch

from tests.unit.bpfctl.btf.blob import Blob

STATES = {"TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2, "TCP_CLOSE": 7}


def codec(order: ByteOrder = "little") -> Codec:
    """struct event: addresses, ports, text, times, an enum, an array, a struct, bits."""
    blob = Blob(order)
    u8, u16, u32, u64 = (blob.integer(f"__u{8 * size}", size) for size in (1, 2, 4, 8))
    s64 = blob.integer("__s64", 8, IntEncoding.SIGNED)
    char = blob.integer("char", 1, IntEncoding.SIGNED)
    flag = blob.integer("bool", 1, IntEncoding.BOOL)
    real = blob.add(Kind.FLOAT, "double", 8)
    be16, be32 = blob.typedef("__be16", u16), blob.typedef("__be32", u32)
    state = blob.enum("state", 4, STATES)
    inner = blob.struct("inner", 8, [("a", u32, 0), ("from", u16, 32)])
    event = blob.struct(
        "event",
        160,
        [
            ("ts", u64, 0),
            ("latency", u64, 64),
            ("delta", s64, 128),
            ("wait_us", u64, 192),
            ("pid", u32, 256),
            ("tid", u32, 288),
            ("comm", blob.array(char, 16), 320),
            ("saddr", be32, 448),
            ("dport", be16, 480),
            ("class", u16, 496),
            ("daddr", blob.array(u8, 16), 512),
            ("state", state, 640),
            ("ports", blob.array(u16, 4), 672),
            ("in_use", flag, 736),
            ("low", u8, 744, 3),
            ("high", u8, 747, 5),
            ("mac", blob.array(u8, 6), 752),
            ("inner", inner, 800),
            ("ratio", real, 896),
            ("skb", blob.pointer(), 960),
            ("blob", blob.array(u8, 20), 1024),
            ("last", u32, 1184),
        ],
    )
    blob.tag("bpfd:format=ktime", event, 0)
    blob.tag("bpfd:format=ns", event, 1)
    return Codec(blob.btf(), event)


def batch(
    coder: Codec, rows: Iterable[Mapping[str, Any]], *, cut: Mapping[int, int] | None = None
) -> EventBatch:
    """A batch of records; `cut` says how many bytes some of them (by index) have."""
    order = "<" if coder.byteorder == "little" else ">"
    parts, sizes = [], []
    for index, row in enumerate(rows):
        data = coder.encode(dict(row))[: (cut or {}).get(index, coder.size)]
        parts.append(struct.pack(order + "II", len(data), 0) + data + bytes(-len(data) & 7))
        sizes.append(len(data))
    size = sizes[0] if len(set(sizes)) == 1 else 0
    return EventBatch(
        count=len(parts), record_size=size, data=memoryview(b"".join(parts)), read_at_ns=10**18
    )
