# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
import sys

import pytest

from bpfd.errors import InvalidArgument
from bpfd.objects.btf_check import MAX_KERNEL_BTF_BYTES, check


def blob(
    magic: int = 0xEB9F,
    version: int = 1,
    header: int = 24,
    types: bytes = b"",
    strings: bytes = b"\0",
    order: str = "=",
    more: int = 0,
) -> bytes:
    sizes = (0, len(types) + more, len(types), len(strings))
    return struct.pack(f"{order}HBBIIIII", magic, version, 0, header, *sizes) + types + strings


def test_sound_btf_passes() -> None:
    check(blob(), "field")
    check(blob(types=bytes(16), strings=b"\0long\0"), "field")


OTHER = ">" if sys.byteorder == "little" else "<"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x9f\xeb\x01", "less than its header"),
        (b"\x7fELF" + bytes(60), "not BTF: it starts with 7f45"),
        (blob(order=OTHER), "other byte order"),
        (blob(version=2), "version 2"),
        (blob(header=8), "damaged"),
        (blob(types=bytes(6)), "damaged"),
        (blob(types=bytes(16), more=4), "truncated"),
        (blob(strings=b""), "damaged"),
        (blob()[:-1], "truncated"),
        (bytes(MAX_KERNEL_BTF_BYTES + 1), "at most"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(data, "options.kernel_btf")
    assert caught.value.field == "options.kernel_btf"
    assert why in caught.value.why
