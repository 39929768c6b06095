# SPDX-License-Identifier: Apache-2.0
"""Parts of BTF: complete, as small as C allows, and laid out as before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bpfctl.btf import Btf, BtfError, Kind, kinds, listing
from bpfctl.btf.parse import ByteOrder
from bpfctl.btf.subset import needed, subset
from hypothesis import given
from hypothesis import strategies as st

from tests.clang import CLANG
from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.test_listing import VMLINUX, every_kind, needs_bpftool


def chain() -> tuple[Blob, dict[str, int]]:
    """struct outer, which has an inner, and pointers to others, a typedef and an array."""
    blob = Blob()
    ids = {"long": blob.integer("long unsigned int", 8)}
    number = ids["int"] = blob.integer("int", 4)
    ids["inner"] = blob.struct("inner", 4, [("value", number, 0)])
    ids["deep"] = blob.struct("deep", 4, [("value", number, 0)])
    ids["far"] = blob.struct("far", 4, [("deep", ids["deep"], 0)])
    ids["alias"] = blob.typedef("alias_t", ids["far"])
    ids["cell"] = blob.struct("cell", 4, [("value", number, 0)])
    ids["hidden"] = blob.struct("", 4, [("value", number, 0)])
    ids["unused"] = blob.struct("unused", 4, [("value", number, 0)])
    members = [
        ("in", ids["inner"], 0),
        ("out", blob.pointer(ids["far"]), 64),
        ("also", blob.pointer(ids["alias"]), 128),
        ("row", blob.pointer(blob.array(ids["cell"], 2)), 192),
        ("some", blob.pointer(ids["hidden"]), 256),
    ]
    ids["outer"] = blob.struct("outer", 40, members)
    return blob, ids


def test_what_only_pointers_lead_to_is_declared() -> None:
    blob, ids = chain()
    found = needed(blob.btf(), [ids["outer"]])
    names = {name: found.get(number) for name, number in ids.items()}
    assert names == {
        **{"outer": True, "inner": True, "int": True},
        **{"far": False, "alias": False, "deep": None, "unused": None, "long": None},
        **{"cell": True, "hidden": True},  # no array of what is unknown, no name to declare
    }
    both = needed(blob.btf(), [ids["outer"], ids["far"]])
    assert both[ids["far"]]
    assert both[ids["deep"]]


def test_a_subset_is_btf_of_its_own() -> None:
    blob, ids = chain()
    found = Btf.parse(subset(blob.btf(), [ids["outer"]]))
    assert found.find("far", Kind.STRUCT) is None
    assert isinstance(found.find("far"), kinds.Forward)
    assert found.find("unused") is None
    outer = found.find("outer")
    assert isinstance(outer, kinds.Composite)
    assert [found.type_name(member.type) for member in outer.members] == [
        *("struct inner", "struct far *", "alias_t *"),
        *("struct cell[2] *", "struct {...} *"),
    ]
    assert found.pointer_size == 8


@pytest.mark.parametrize("order", ["little", "big"])
def test_all_of_a_blob_is_the_blob(order: ByteOrder) -> None:
    btf = every_kind(order).btf()
    found = Btf.parse(subset(btf, btf.own_ids()))
    assert found.byteorder == order
    assert list(listing.rows(found)) == list(listing.rows(btf))


def test_a_split_blob_and_its_base_become_one() -> None:
    base = Blob()
    number = base.integer("int", 4)
    base.struct("other", 4, [("value", number, 0)])
    split = Blob(first=3, strings=base.btf().string_bytes)
    split.struct("added", 4, [("value", number, 0)])
    btf = split.btf(base.btf())
    found = Btf.parse(subset(btf, btf.own_ids()))
    assert [row["name"] for row in listing.rows(found)] == ["int", "added"]


@given(
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from(["little", "big"]),
)
def test_damaged_btf_is_refused_or_shown(
    damage: list[tuple[int, int]], order: ByteOrder
) -> None:
    data = bytearray(every_kind(order).raw())
    for place, value in damage:
        data[place % len(data)] = value
    try:
        btf = Btf.parse(data)
        shown = list(listing.lines(listing.rows(btf)))
        part = Btf.parse(subset(btf, btf.own_ids()))
    except BtfError:
        return
    assert len(shown) >= len(btf.own_ids())
    assert len(part) == len(btf)


def test_a_type_that_contains_itself() -> None:
    blob = Blob()
    blob.struct("itself", 8, [("next", 2, 0)])
    blob.pointer(1)
    assert needed(blob.btf(), [1]) == {1: True, 2: True}
    assert len(Btf.parse(subset(blob.btf(), [1]))) == 3


@needs_bpftool
@pytest.mark.skipif(not VMLINUX.exists() or not CLANG, reason="needs a kernel's BTF and clang")
def test_c_of_a_kernels_types_compiles_to_the_same_layout(tmp_path: Path) -> None:
    from bpfctl import btf_dump

    btf = Btf.parse(VMLINUX.read_bytes())
    names = ("task_struct", "sk_buff", "tcp_sock", "bpf_prog", "net_device", "xdp_buff")
    roots = [found.id for name in names if (found := btf.find(name, Kind.STRUCT))]
    text = btf_dump.as_c(btf, roots)
    source, target = tmp_path / "types.c", tmp_path / "types.o"
    uses = "".join(f"struct {name} use_{name};\n" for name in names)
    source.write_text(text + uses)
    command = [CLANG, "-g", "-O2", "-target", "bpf", "-Wall", "-Werror", "-c"]
    subprocess.run([*command, str(source), "-o", str(target)], check=True)
    compiled = btf_dump.of_file(target)
    same = 0
    for found in compiled.of_kind(Kind.STRUCT):
        assert isinstance(found, kinds.Composite)
        if not found.name:
            continue
        layouts = [
            (each.size, members(each))
            for each in btf.find_all(found.name, Kind.STRUCT)
            if isinstance(each, kinds.Composite)
        ]
        assert (found.size, members(found)) in layouts, found.name
        same += 1
    assert same > 80


def members(found: kinds.Composite) -> list[tuple[str, int, int]]:
    """Of a struct; what C fills up bit fields with has no name and is left out."""
    return [(each.name, each.bit_offset, each.bits) for each in found.members]
