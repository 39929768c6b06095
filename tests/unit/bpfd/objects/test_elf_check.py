# SPDX-License-Identifier: Apache-2.0
"""Every way in which a file is not a whole BPF object is told apart."""

from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfd.errors import InvalidArgument
from bpfd.objects.elf_check import MAX_OBJECT_BYTES, check

ORDER = "<" if sys.byteorder == "little" else ">"


def elf(
    *, machine: int = 247, kind: int = 1, data: int = 1 if ORDER == "<" else 2, bits: int = 2
) -> bytes:
    """A header, one section of 8 bytes and its header, written by hand (gABI, chapter 4)."""
    order = "<" if data == 1 else ">"
    ident = b"\x7fELF" + bytes([bits, data, 1]) + bytes(9)
    header = ident + struct.pack(
        f"{order}HHIQQQIHHHHHH", kind, machine, 1, 0, 0, 72, 0, 64, 0, 0, 64, 2, 0
    )
    null = bytes(64)
    section = struct.pack(f"{order}IIQQQQIIQQ", 0, 1, 0, 0, 64, 8, 0, 0, 8, 0)
    return header + bytes(8) + null + section


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidArgument) as raised:
        check(data)
    return raised.value.why


def test_a_whole_object_passes() -> None:
    check(elf())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (elf()[:40], "truncated"),
        (elf()[:-1], "truncated"),
        (elf(machine=62), "for x86-64, not for BPF"),
        (elf(machine=183), "for ARM 64, not for BPF"),
        (elf(machine=999), "machine 999"),
        (elf(kind=3), "a shared object"),
        (elf(bits=1), "32-bit"),
        (elf(data=2 if ORDER == "<" else 1), "other byte order"),
    ],
)
def test_what_is_refused(data: bytes, says: str) -> None:
    assert says in refusal(data)


def test_size() -> None:
    assert "at most" in refusal(elf() + bytes(MAX_OBJECT_BYTES))


@given(st.integers(0, len(elf()) - 1))
def test_no_prefix_passes(length: int) -> None:
    refusal(elf()[:length])


@given(st.binary(max_size=300))
def test_damage_behind_the_header_is_refused(tail: bytes) -> None:
    if len(tail) < len(elf()) - 64:
        refusal(elf()[:64] + tail)
