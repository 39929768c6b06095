# SPDX-License-Identifier: Apache-2.0
"""Looks at raw BTF before a parser in C does: is it whole, and of this byte order?

Pure; the header is struct btf_header of linux/btf.h.
"""

from __future__ import annotations

import struct
import sys

from bpfd.errors import InvalidArgument

MAX_KERNEL_BTF_BYTES = 32 * 1024 * 1024
"""Largest kernel BTF that a load takes. All of a kernel's has 4 to 15 MiB, what an object
needs of it some hundred bytes."""

_MAGIC = 0xEB9F
_VERSION = 1
_HEADER = struct.Struct("=HBBIIIII")


def check(data: bytes, field: str) -> None:
    """Raises InvalidArgument unless `data` is whole raw BTF for this machine."""
    if len(data) > MAX_KERNEL_BTF_BYTES:
        raise InvalidArgument(
            field, f"{len(data)} bytes; at most {MAX_KERNEL_BTF_BYTES} are taken"
        )
    if len(data) < _HEADER.size:
        raise InvalidArgument(field, f"not BTF: {len(data)} bytes are less than its header")
    magic, version, _, header, types_at, types, strings_at, strings = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        swapped = data[:2] == _MAGIC.to_bytes(
            2, "big" if sys.byteorder == "little" else "little"
        )
        why = (
            "of the other byte order"
            if swapped
            else f"not BTF: it starts with {data[:2].hex()}"
        )
        raise InvalidArgument(field, f"{why}; raw BTF of this kernel is wanted")
    if version != _VERSION:
        raise InvalidArgument(field, f"BTF of version {version}; version {_VERSION} is known")
    end = header + max(types_at + types, strings_at + strings)
    if header < _HEADER.size or types % 4 or not strings or end > len(data):
        raise InvalidArgument(field, "truncated or damaged BTF")
