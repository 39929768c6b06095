# SPDX-License-Identifier: Apache-2.0
"""Definitions of maps as people write them."""

from __future__ import annotations

import pytest
from bpfctl import arena, user_ring
from bpfctl.btf import Btf, Codec
from bpfctl.btf.errors import BtfValueError
from bpfctl.btf.make import describe
from bpfctl.errors import InvalidArgument
from bpfctl.map_create import Definition, _sizes, flags_of


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_types_are_those_that_were_named(byteorder: str) -> None:
    order = "big" if byteorder == "big" else "little"
    made = describe("s16", "20", order)  # type: ignore[arg-type]
    assert (made.key_size, made.value_size) == (2, 20)
    btf = Btf.parse(made.btf)
    assert Codec(btf, made.key_type_id).decode((-2 & 0xFFFF).to_bytes(2, order)) == -2  # type: ignore[arg-type]
    assert Codec(btf, made.value_type_id).size == 20


def test_nothing_has_no_type() -> None:
    made = describe("", "")
    assert (made.btf, made.key_size, made.value_type_id) == (b"", 0, 0)
    for wrong in ("u63", "-1", "struct x", "9999999999"):
        with pytest.raises(BtfValueError):
            describe(wrong, "u32")


def test_flags_are_names_or_numbers() -> None:
    assert flags_of("") == 0
    assert flags_of("no_prealloc,BPF_F_MMAPABLE,0x8000") == 1 | 1 << 10 | 0x8000
    with pytest.raises(InvalidArgument, match="none of no_prealloc"):
        flags_of("mmap")


def test_what_is_not_said_is_what_the_type_wants() -> None:
    assert _sizes("SOCKMAP", Definition("sockmap")) == ("u32", "u64")
    assert _sizes("CPUMAP", Definition("cpumap")) == ("u32", "8")
    assert _sizes("RINGBUF", Definition("ringbuf")) == ("", "")
    assert _sizes("TASK_STORAGE", Definition("task_storage", value="u64")) == ("s32", "u64")
    with pytest.raises(InvalidArgument, match="of what type"):
        _sizes("QUEUE", Definition("queue"))


@pytest.mark.parametrize(
    ("text", "size", "found"),
    [("64+8", 0, (64, 8)), ("0x40", 16, (64, 16)), ("0+0x10", 3, (0, 16))],
)
def test_places_in_an_arena(text: str, size: int, found: tuple[int, int]) -> None:
    assert arena.place(text, size) == found


@pytest.mark.parametrize("text", ["64", "x+1", "-1+8", "8+0", "1+-2"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument):
        arena.place(text)


def test_records_have_headers_and_padding() -> None:
    assert user_ring.packed([b"abc", b"12345678"]) == (
        b"\3\0\0\0\0\0\0\0abc\0\0\0\0\0" + b"\x08\0\0\0\0\0\0\x0012345678"
    )
    assert user_ring.packed([b"a"], big_endian=True)[:4] == b"\0\0\0\1"
