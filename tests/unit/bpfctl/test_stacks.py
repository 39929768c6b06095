# SPDX-License-Identifier: Apache-2.0
"""Addresses as names."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bpfctl import stacks
from bpfctl.target import Target

KALLSYMS = b"""ffffffff81000000 T _stext
ffffffff81000100 t helper
ffffffff81000200 D data
ffffffffc0000000 t of_module\t[nf_tables]
"""


def test_kernel_symbols_are_functions() -> None:
    names = stacks.kernel_names(KALLSYMS)
    assert names.first == 0xFFFFFFFF81000000
    assert names.find(0xFFFFFFFF81000112) == "helper+0x12"
    assert names.find(0xFFFFFFFF81000000) == "_stext"
    assert names.find(0xFFFFFFFFC0000004) == "of_module [nf_tables]+0x4"
    assert names.find(5) == ""
    assert stacks.kernel_names(b"0000000000000000 T hidden\n").first == 1 << 64


def test_symbols_with_a_size_end() -> None:
    names = stacks.Names([(16, 8, "f"), (64, 0, "open")])
    assert names.find(23) == "f+0x7"
    assert names.find(24) == ""
    assert names.find(1000) == "open+0x3a8"


def test_no_elf_file_has_no_symbols() -> None:
    with pytest.raises(ValueError, match="agic"):
        stacks.elf_file(b"text")


class FakeRpc:
    """Gives the symbols above."""

    target = SimpleNamespace(GetKallsyms=None, ListProcesses=None)

    def stream(self, *_: Any) -> FakeRpc:
        return self

    def __enter__(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(data=KALLSYMS)]

    def __exit__(self, *_: object) -> None:
        return


def symbols(**fields: Any) -> stacks.StackSymbols:
    target = SimpleNamespace(info=lambda: SimpleNamespace(big_endian=False), rpc=FakeRpc())
    return stacks.StackSymbols(cast("Target", target), **fields)


def test_frames_end_with_the_stack() -> None:
    raw = struct.pack("<4Q", 0xFFFFFFFF81000110, 0x1234, 0, 0)
    assert symbols().frames(raw) == ["helper+0x10", "0x1234"]


def test_build_ids_stand_for_files() -> None:
    valid = struct.pack("<i20sQ", 1, b"\xab" * 20, 0x40)
    address = struct.pack("<i20sQ", 2, bytes(20), 0x77)
    assert symbols(build_ids=True).frames(valid + address + bytes(32)) == [
        f"{'ab' * 20}+0x40",
        "0x77",
    ]
