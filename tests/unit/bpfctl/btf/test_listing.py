# SPDX-License-Identifier: Apache-2.0
"""Types as rows and lines: every kind by hand, and all of a kernel as bpftool has them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from bpfctl.btf import Btf, Kind, listing
from bpfctl.btf.kinds import IntEncoding
from bpfctl.btf.parse import ByteOrder

from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.objects import bpftool_types

BPFTOOL = shutil.which("bpftool", path="/usr/bin:/usr/sbin:/sbin")
needs_bpftool = pytest.mark.skipif(BPFTOOL is None, reason="needs bpftool")
VMLINUX = Path("/sys/kernel/btf/vmlinux")


def every_kind(order: ByteOrder = "little") -> Blob:
    """A blob with all kinds, numbered 1 to 20."""
    blob = Blob(order)
    number = blob.integer("int", 4, IntEncoding.SIGNED)
    blob.integer("bool", 1, IntEncoding.BOOL)
    pointer = blob.pointer(number)
    array = blob.array(number, 4)
    blob.struct("pair", 8, [("left", number, 0), ("right", number, 32)])
    blob.struct("bits", 4, [("a", number, 0, 3), ("b", number, 3, 29)])
    blob.union("", 16, [("all", array, 0), ("", pointer, 0)])
    blob.enum("sign", 4, {"LESS": -1, "MORE": 1}, signed=True)
    blob.enum64("wide", 8, {"HIGH": 1 << 63})
    blob.add(Kind.FWD, "later", 0)
    blob.add(Kind.FWD, "either", 0, flag=1)
    blob.typedef("number", number)
    blob.reference(Kind.CONST, pointer)
    blob.reference(Kind.TYPE_TAG, number, "user")
    prototype = blob.prototype(number, [("first", pointer), ("", 0)])
    function = blob.add(Kind.FUNC, "call", prototype, count=1)
    variable = blob.variable("here", number)
    blob.section(".bss", 4, [(variable, 0, 4)])
    blob.add(Kind.FLOAT, "double", 8)
    blob.tag("kfunc", function, 1)
    return blob


WANTED = """\
[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED
[2] INT 'bool' size=1 bits_offset=0 nr_bits=8 encoding=BOOL
[3] PTR '(anon)' type_id=1
[4] ARRAY '(anon)' type_id=1 index_type_id=1 nr_elems=4
[5] STRUCT 'pair' size=8 vlen=2
	'left' type_id=1 bits_offset=0
	'right' type_id=1 bits_offset=32
[6] STRUCT 'bits' size=4 vlen=2
	'a' type_id=1 bits_offset=0 bitfield_size=3
	'b' type_id=1 bits_offset=3 bitfield_size=29
[7] UNION '(anon)' size=16 vlen=2
	'all' type_id=4 bits_offset=0
	'(anon)' type_id=3 bits_offset=0
[8] ENUM 'sign' encoding=SIGNED size=4 vlen=2
	'LESS' val=-1
	'MORE' val=1
[9] ENUM64 'wide' encoding=UNSIGNED size=8 vlen=1
	'HIGH' val=9223372036854775808
[10] FWD 'later' fwd_kind=struct
[11] FWD 'either' fwd_kind=union
[12] TYPEDEF 'number' type_id=1
[13] CONST '(anon)' type_id=3
[14] TYPE_TAG 'user' type_id=1
[15] FUNC_PROTO '(anon)' ret_type_id=1 vlen=2
	'first' type_id=3
	'(anon)' type_id=0
[16] FUNC 'call' type_id=15 linkage=global
[17] VAR 'here' type_id=1 linkage=global
[18] DATASEC '.bss' size=4 vlen=1
	type_id=17 offset=0 size=4
[19] FLOAT 'double' size=8
[20] DECL_TAG 'kfunc' type_id=16 component_idx=1"""


@pytest.mark.parametrize("order", ["little", "big"])
def test_every_kind(order: ByteOrder) -> None:
    assert "\n".join(listing.lines(listing.rows(every_kind(order).btf()))) == WANTED


def test_split_btf_shows_its_own_types() -> None:
    base = Blob()
    number = base.integer("int", 4)
    split = Blob(first=2, strings=base.btf().string_bytes)
    split.struct("added", 4, [("value", number, 0)])
    btf = split.btf(base.btf())
    assert [row["name"] for row in listing.rows(btf)] == ["added"]
    assert [row["name"] for row in listing.rows(btf, [1, 2])] == ["int", "added"]
    assert list(btf.named("*")) == [2]


def agree(btf: Btf, path: Path) -> None:
    theirs = bpftool_types(path)
    for each in theirs:
        # bpftool 7.1 shows numbers of 32 bits without sign as if they had one.
        if each["kind"] == "ENUM" and each["encoding"] == "UNSIGNED":
            for value in each["values"]:
                value["val"] &= 0xFFFFFFFF
    assert list(listing.rows(btf)) == theirs


@needs_bpftool
def test_rows_are_bpftools(tmp_path: Path) -> None:
    blob = every_kind()
    (tmp_path / "raw").write_bytes(blob.raw())
    agree(blob.btf(), tmp_path / "raw")


@needs_bpftool
@pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")
def test_a_kernels_types_are_bpftools() -> None:
    btf = Btf.parse(VMLINUX.read_bytes())
    agree(btf, VMLINUX)
    ours = [line for line in listing.lines(listing.rows(btf)) if not line.startswith("\t")]
    assert BPFTOOL
    dump = [BPFTOOL, "btf", "dump", "file", str(VMLINUX)]
    theirs = subprocess.run(
        dump, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    commas = re.compile(r", (?=linkage=)")
    assert ours == [commas.sub(" ", line) for line in theirs if not line.startswith("\t")]


def test_names_by_glob() -> None:
    btf = every_kind().btf()
    assert list(btf.named("*it*")) == [6, 11]
    assert list(btf.named("int")) == [1]
    assert list(btf.named("*", frozenset({Kind.FWD, Kind.FLOAT}))) == [10, 11, 19]
    assert list(btf.named("nothing")) == []
