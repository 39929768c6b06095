# SPDX-License-Identifier: Apache-2.0
"""Small BTF for maps that are made without a program."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.parse import ByteOrder

_INT, _ARRAY = 1, 3
_SIGNED = 1 << 24
_INTEGER = re.compile(r"([us])(8|16|32|64)")

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Described:
    """Raw BTF, and what keys and values are in it; type ids 0: there is none."""

    btf: bytes
    key_size: int
    value_size: int
    key_type_id: int
    value_type_id: int


class _Writer:
    def __init__(self, byteorder: ByteOrder) -> None:
        self._order = "<" if byteorder == "little" else ">"
        self._types = bytearray()
        self._strings = bytearray(b"\0")
        self._known: dict[str, int] = {}
        self._count = 0

    def integer(self, text: str) -> int:
        """The id of u8 to s64."""
        if text not in self._known:
            name = len(self._strings)
            self._strings += text.encode() + b"\0"
            bits = int(text[1:])
            encoding = bits | (_SIGNED if text[0] == "s" else 0)
            self._add(text, "IIII", name, _INT << 24, bits // 8, encoding)
        return self._known[text]

    def octets(self, size: int) -> int:
        """The id of an array of u8."""
        key = str(size)
        if key not in self._known:
            element, index = self.integer("u8"), self.integer("u32")
            self._add(key, "IIIIII", 0, _ARRAY << 24, 0, element, index, size)
        return self._known[key]

    def _add(self, key: str, form: str, *words: int) -> None:
        self._types += struct.pack(self._order + form, *words)
        self._count += 1
        self._known[key] = self._count

    def data(self) -> bytes:
        """struct btf_header and what follows it."""
        sizes = (0, len(self._types), len(self._types), len(self._strings))
        header = struct.pack(self._order + "HBBIIIII", 0xEB9F, 1, 0, 24, *sizes)
        return header + bytes(self._types) + bytes(self._strings)


def describe(key: str, value: str, byteorder: ByteOrder = "little") -> Described:
    """BTF of a key and a value: "u8" to "s64", a number of bytes, or "" for none.

    Raises BtfValueError.
    """
    writer = _Writer(byteorder)
    sizes, ids = [], []
    for field, text in (("key", key), ("value", value)):
        if found := _INTEGER.fullmatch(text):
            sizes.append(int(found[2]) // 8)
            ids.append(writer.integer(text))
        elif text.isascii() and text.isdigit() and 0 < int(text) <= MAX_BYTES:
            sizes.append(int(text))
            ids.append(writer.octets(int(text)))
        elif text in ("", "0"):
            sizes.append(0)
            ids.append(0)
        else:
            raise BtfValueError(
                field, f"{text!r} is neither u8 to u64, s8 to s64, nor a number of bytes"
            )
    return Described(writer.data() if any(ids) else b"", *sizes, *ids)
