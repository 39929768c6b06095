# SPDX-License-Identifier: Apache-2.0
"""Hexadecimal text as people copy it from other tools."""

from __future__ import annotations

import pytest
from bpfctl.errors import InvalidArgument
from bpfctl.packets import hextext

DATA = bytes(range(0x20, 0x3A))

XXD = """\
00000000: 2021 2223 2425 2627 2829 2a2b 2c2d 2e2f   !"#$%&'()*+,-./
00000010: 3031 3233 3435 3637 3839                 0123456789
"""
HEXDUMP = """\
00000000  20 21 22 23 24 25 26 27  28 29 2a 2b 2c 2d 2e 2f  | !"#$%&'()*+,-./|
00000010  30 31 32 33 34 35 36 37  38 39                    |0123456789|
"""
TCPDUMP = """\
\t0x0000:  2021 2223 2425 2627 2829 2a2b 2c2d 2e2f
\t0x0010:  3031 3233 3435 3637 3839
"""
WIRESHARK = """\
0000   20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f    !"#$%&'()*+,-./
0010   30 31 32 33 34 35 36 37 38 39                     0123456789
"""


@pytest.mark.parametrize("text", [XXD, HEXDUMP, TCPDUMP, WIRESHARK, hextext.dump(DATA)])
def test_dumps(text: str) -> None:
    assert hextext.parse(text) == DATA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4500", "4500"),
        ("45 00\n00 1c\n", "4500001c"),
        ("02:00:00:00:00:01", "020000000001"),
        ("0x45, 0x00", "4500"),
        (r"\x45\x00", "4500"),
        ("0x4500", "4500"),
        ("", ""),
        ("4500001c 00010000", "4500001c00010000"),
    ],
)
def test_digits(text: str, expected: str) -> None:
    assert hextext.parse(text).hex() == expected


@pytest.mark.parametrize(
    ("text", "words"), [("450", "3 digits"), ("45 0g", "'g'"), ("ü", "'ü'")]
)
def test_what_is_no_packet(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        hextext.parse(text)


def test_a_dump_of_any_length_is_read_back() -> None:
    for size in range(0, 70):
        data = bytes((7 * at) % 256 for at in range(size))
        assert hextext.parse(hextext.dump(data)) == data
