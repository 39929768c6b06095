# SPDX-License-Identifier: Apache-2.0
"""Types out of files, chosen by name and kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl import btf_dump
from bpfctl.btf import Btf, BtfError, Kind
from bpfctl.errors import InvalidArgument, NotFound
from bpfctl.kernelbtf import KernelBtfError

from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.objects import compiled
from tests.unit.bpfctl.btf.test_listing import every_kind, needs_bpftool


def module() -> tuple[bytes, bytes]:
    """(raw BTF of a kernel, of its module)."""
    base = Blob()
    number = base.integer("int", 4)
    split = Blob(first=2, strings=base.btf().string_bytes)
    split.struct("added", 4, [("value", number, 0)])
    return base.raw(), split.raw()


def test_a_module_beside_its_kernel(tmp_path: Path) -> None:
    kernel, split = module()
    (tmp_path / "veth").write_bytes(split)
    with pytest.raises(BtfError, match=r"continues that of a kernel.*--base"):
        btf_dump.of_file(tmp_path / "veth")
    (tmp_path / "other").write_bytes(kernel)
    found = btf_dump.of_file(tmp_path / "veth", tmp_path / "other")
    assert [found.type(each).name for each in found.own_ids()] == ["added"]
    (tmp_path / "vmlinux").write_bytes(kernel)
    assert btf_dump.of_file(tmp_path / "veth").find("int") is not None
    (tmp_path / "vmlinux").write_bytes(split)
    with pytest.raises(BtfError, match="continues"):
        btf_dump.of_file(tmp_path / "vmlinux")


def test_an_object(tmp_path: Path) -> None:
    elf = compiled("struct pair { int a, b; } used; int f(int x) { return x; }", tmp_path)
    (tmp_path / "a.o").write_bytes(elf)
    assert btf_dump.of_file(tmp_path / "a.o").find("pair", Kind.STRUCT)


def test_files_that_have_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text" * 100)
    with pytest.raises(KernelBtfError):
        btf_dump.of_file(tmp_path / "text")
    (tmp_path / "cut").write_bytes(every_kind().raw()[:60])
    with pytest.raises((BtfError, KernelBtfError)):
        btf_dump.of_file(tmp_path / "cut")


def test_choosing() -> None:
    btf = every_kind().btf()
    assert btf_dump.chosen(btf) == list(btf.own_ids())
    assert btf_dump.chosen(btf, ["pair", "sign"]) == [5, 8]
    assert btf_dump.chosen(btf, ["struct *"]) == [5, 6, 10, 11]
    assert btf_dump.chosen(btf, ["enum *"]) == [8, 9]
    assert btf_dump.chosen(btf, [], [Kind.FUNC]) == [16]
    assert btf_dump.chosen(btf, ["*"], [Kind.TYPEDEF, Kind.FLOAT]) == [12, 19]
    assert btf_dump.chosen(btf, ["typedef number"]) == [12]
    with pytest.raises(NotFound, match="no type 'pairs'; did you mean pair"):
        btf_dump.chosen(btf, ["pairs"])
    with pytest.raises(NotFound):
        btf_dump.chosen(btf, ["struct sign"])
    with pytest.raises(NotFound):
        btf_dump.chosen(btf, ["struct pair"], [Kind.ENUM])
    for empty in ("", "struct "):
        with pytest.raises(InvalidArgument, match="no name of a type"):
            btf_dump.chosen(btf, [empty])


@needs_bpftool
def test_c_has_functions_too() -> None:
    btf = every_kind().btf()
    assert btf_dump.as_c(btf, [5, 16]).splitlines() == [
        *("struct pair {", "\tint left;", "\tint right;", "};"),
        *("", "extern int call(int *first, ...);"),
    ]
    blob = Blob()
    prototype = blob.prototype(0, [])
    taking = blob.prototype(0, [("back", blob.pointer(prototype))])
    function = blob.add(Kind.FUNC, "later", taking)
    assert "/* extern void later(function *back); */" in btf_dump.as_c(blob.btf(), [function])


@needs_bpftool
def test_c_of_a_32_bit_kernel_keeps_its_longs() -> None:
    blob = Blob()
    number = blob.integer("long unsigned int", 4)
    pointer = blob.pointer(number)
    blob.struct("words", 8, [("first", number, 0), ("second", pointer, 32)])
    btf: Btf = blob.btf()
    assert btf_dump.as_c(btf, [3]).splitlines() == [
        *("struct words {", "\tlong unsigned int first;", "\tlong unsigned int *second;", "};")
    ]
