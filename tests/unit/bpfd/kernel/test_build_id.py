# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfd.kernel.build_id import build_id, build_id_of, is_elf, kernel_build_id

ID = bytes(range(20))


def elf(*, wide: bool, order: str, notes: bytes, kind: int = 3) -> bytes:
    """An ELF file with one segment of notes."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    if wide:
        head = struct.pack(order + "HHIQQQIHHHHHH", kind, 0, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        table = struct.pack(order + "IIQQQQQQ", 4, 0, 120, 0, 0, len(notes), len(notes), 4)
    else:
        head = struct.pack(order + "HHIIIIIHHHHHH", kind, 0, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        table = struct.pack(order + "IIIIIIII", 4, 84, 0, 0, len(notes), len(notes), 0, 4)
    return ident + head + table + notes


def note(order: str, name: bytes, kind: int, content: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    head = struct.pack(order + "III", len(name), len(content), kind)
    return head + padded(name) + padded(content)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_class_and_byte_order(tmp_path: Path, wide: bool, order: str) -> None:
    notes = note(order, b"GNU\0", 1, bytes(16)) + note(order, b"Go\0\0", 4, b"x" * 83)
    notes += note(order, b"GNU\0", 3, ID)
    path = tmp_path / "file"
    path.write_bytes(elf(wide=wide, order=order, notes=notes))
    assert build_id_of(str(path)) == ID


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n" * 20,
        elf(wide=True, order="<", notes=b""),
        elf(wide=True, order="<", notes=note("<", b"GNU\0", 3, bytes(65))),
        elf(wide=True, order="<", notes=note("<", b"GNU\0", 3, ID))[:100],
        elf(wide=True, order="<", notes=struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 3)),
    ],
)
def test_files_without_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert build_id_of(str(path)) == b""


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert build_id_of(str(tmp_path / "missing")) == b""
    assert build_id_of(str(tmp_path)) == b""


def test_a_core_is_no_elf_file_here(tmp_path: Path) -> None:
    for order in "<>":
        for kind, answer in ((2, True), (3, True), (4, False)):
            (tmp_path / "file").write_bytes(elf(wide=True, order=order, notes=b"", kind=kind))
            fd = os.open(tmp_path / "file", os.O_RDONLY)
            assert is_elf(fd) is answer
            os.close(fd)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 150), st.booleans())
def test_damaged_files_are_no_trouble(noise: bytes, at: int, wide: bool) -> None:
    whole = bytearray(elf(wide=wide, order="<", notes=note("<", b"GNU\0", 3, ID)))
    whole[at : at + len(noise)] = noise
    fd = os.memfd_create("damaged")
    try:
        os.write(fd, whole)
        assert len(build_id(fd)) <= 64
    finally:
        os.close(fd)


def test_of_the_running_kernel() -> None:
    shown = os.path.exists("/sys/kernel/notes")
    assert len(kernel_build_id()) in ((20, 0) if shown else (0,))
