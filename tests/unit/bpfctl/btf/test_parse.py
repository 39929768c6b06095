# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bpfctl.btf import Btf, BtfError, Kind, kinds
from bpfctl.btf.kinds import IntEncoding, Linkage
from bpfctl.btf.parse import ByteOrder
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.objects import bpftool_types, compiled, section

ORDERS: list[ByteOrder] = ["little", "big"]
VMLINUX = Path("/sys/kernel/btf/vmlinux")

EVERY_KIND = r"""
typedef unsigned int u32;
typedef unsigned char u8;
#define TAGGED(text) __attribute__((btf_decl_tag(text)))
struct later;
union later_union;
enum small { SMALL_A, SMALL_B = 7, SMALL_NEGATIVE = -3 };
enum wide { WIDE = 0x123456789abcdefULL };
struct inner { u8 a : 3; u8 b : 5; int c : 20; };
struct every {
    u32 number TAGGED("first"); u32 *pointer; int matrix[2][3]; struct inner inner;
    union { u32 word; u8 octets[4]; } both; enum small small; enum wide wide;
    struct later *later; union later_union *later_union;
    const volatile char *restrict text; int (*call)(u32 number, ...);
    float single; double twice; _Bool yes; __int128 huge;
    int __attribute__((btf_type_tag("user"))) *user;
} TAGGED("whole");
struct every every TAGGED("variable");
const volatile u32 setting = 3;
static volatile int hidden = 1;
extern int outside __attribute__((section(".ksyms")));
__attribute__((section("socket"), used)) int program(struct every *context)
{ return hidden + setting + outside; }
"""


def every_kind(order: ByteOrder) -> Blob:
    """A blob with each kind once, whose ids are in the order of the kinds."""
    blob = Blob(order)
    number = blob.integer("int", 4, IntEncoding.SIGNED)
    blob.pointer(number)
    blob.array(number, 3)
    blob.struct("pair", 8, [("a", number, 0, 5), ("b", number, 32, 0)])
    blob.union("either", 4, [("x", number, 0), ("y", number, 0)])
    blob.enum("colour", 4, {"RED": 1, "MINUS": -2}, signed=True)
    blob.add(Kind.FWD, "later", 0, flag=1)
    blob.typedef("number", number)
    for kind in (Kind.VOLATILE, Kind.CONST, Kind.RESTRICT):
        blob.reference(kind, number)
    blob.add(Kind.FUNC, "run", 13, count=1)
    blob.prototype(number, [("first", number), ("", 0)])
    variable = blob.variable("counter", number)
    blob.section(".bss", 8, [(variable, 4, 4)])
    blob.add(Kind.FLOAT, "double", 8)
    blob.tag("a tag", 4, 1)
    blob.reference(Kind.TYPE_TAG, number, "user")
    blob.enum64("large", 8, {"HUGE": 1 << 40, "LOW": -(1 << 50)}, signed=True)
    return blob


@pytest.mark.parametrize("order", ORDERS)
def test_reads_every_kind_in_both_byte_orders(order: ByteOrder) -> None:
    btf = every_kind(order).btf()
    assert btf.byteorder == order
    found = list(btf.types())
    assert [entry.kind for entry in found] == list(Kind)[1:]
    assert found[0] == kinds.Int(1, Kind.INT, "int", 4, IntEncoding.SIGNED, 32, 0)
    assert found[1] == kinds.Reference(2, Kind.PTR, "", 1)
    assert found[2] == kinds.Array(3, Kind.ARRAY, "", 1, 1, 3)
    members = (kinds.Member("a", 1, 0, 5), kinds.Member("b", 1, 32, 0))
    assert found[3] == kinds.Composite(4, Kind.STRUCT, "pair", 8, members)
    assert found[5] == kinds.Enum(6, Kind.ENUM, "colour", 4, True, (("RED", 1), ("MINUS", -2)))
    assert found[6] == kinds.Forward(7, Kind.FWD, "later", True)
    assert found[11] == kinds.Function(12, Kind.FUNC, "run", 13, Linkage.GLOBAL)
    parameters = (("first", 1), ("", 0))
    assert found[12] == kinds.FunctionPrototype(13, Kind.FUNC_PROTO, "", 1, parameters)
    assert found[13] == kinds.Variable(14, Kind.VAR, "counter", 1, Linkage.GLOBAL)
    entries = (kinds.SectionVariable(14, 4, 4),)
    assert found[14] == kinds.DataSection(15, Kind.DATASEC, ".bss", 8, entries)
    assert found[15] == kinds.Float(16, Kind.FLOAT, "double", 8)
    assert found[16] == kinds.DeclTag(17, Kind.DECL_TAG, "a tag", 4, 1)
    large = (("HUGE", 1 << 40), ("LOW", -(1 << 50)))
    assert found[18] == kinds.Enum(19, Kind.ENUM64, "large", 8, True, large)


def agrees(mine: kinds.Type, theirs: dict[str, Any]) -> None:
    """Compares a type with what bpftool says of it."""
    assert mine.id == theirs["id"]
    assert mine.kind.name == theirs["kind"]
    # bpftool shows names of nothing so.
    assert (mine.name or "(anon)") == theirs["name"]
    if isinstance(mine, kinds.Int | kinds.Composite | kinds.Enum | kinds.Float):
        assert mine.size == theirs["size"]
    if isinstance(mine, kinds.Reference):
        assert mine.target == theirs["type_id"]
    if isinstance(mine, kinds.Array):
        assert (mine.element, mine.count) == (theirs["type_id"], theirs["nr_elems"])
    if isinstance(mine, kinds.Composite):
        assert [(m.name or "(anon)", m.type, m.bit_offset, m.bits) for m in mine.members] == [
            (m["name"], m["type_id"], m["bits_offset"], m.get("bitfield_size", 0))
            for m in theirs["members"]
        ]
    if isinstance(mine, kinds.Enum):
        bits = 8 * 4 if mine.kind is Kind.ENUM else 64
        assert [(name, value % (1 << bits)) for name, value in mine.values] == [
            (entry["name"], entry["val"] % (1 << bits)) for entry in theirs["values"]
        ]
    if isinstance(mine, kinds.FunctionPrototype):
        assert mine.returns == theirs["ret_type_id"]
        assert [kind for _, kind in mine.parameters] == [p["type_id"] for p in theirs["params"]]
    if isinstance(mine, kinds.DataSection):
        assert [(e.variable, e.offset, e.size) for e in mine.variables] == [
            (entry["type_id"], entry["offset"], entry["size"]) for entry in theirs["vars"]
        ]
    if isinstance(mine, kinds.DeclTag):
        assert (mine.target, mine.component) == (theirs["type_id"], theirs["component_idx"])


@pytest.mark.parametrize("order", ORDERS)
def test_agrees_with_bpftool_on_what_clang_makes(tmp_path: Path, order: ByteOrder) -> None:
    elf = compiled(EVERY_KIND, tmp_path, order)
    btf = Btf.parse(section(elf, ".BTF"))
    # bpftool takes objects of its own byte order only.
    theirs = bpftool_types(tmp_path / "little.o") if order == "little" else []
    assert {entry.kind for entry in btf.types()} >= set(Kind) - {Kind.VOID, Kind.RESTRICT}
    for mine, other in zip(btf.types(), theirs, strict=order == "little"):
        agrees(mine, other)


def test_agrees_with_bpftool_on_the_kernel() -> None:
    if not VMLINUX.exists():
        pytest.skip(f"needs {VMLINUX}")
    btf = Btf.parse(VMLINUX.read_bytes())
    theirs = bpftool_types(VMLINUX)
    assert len(btf) == len(theirs) + 1
    # Every 16th type: all of them take seconds, most of them in bpftool's JSON.
    for other in theirs[::16]:
        agrees(btf.type(other["id"]), other)


def test_makes_types_when_they_are_asked_for() -> None:
    btf = every_kind("little").btf()
    assert btf.type(4) is btf.type(4)
    assert btf.type(0) == kinds.Type(0, Kind.VOID, "")
    assert len(btf) == 20


def test_finds_by_name_and_kind() -> None:
    blob = Blob()
    number = blob.integer("value", 4)
    struct = blob.struct("value", 4, [("a", number, 0)])
    blob.struct("other_value", 4, [("a", number, 0)])
    btf = blob.btf()
    assert getattr(btf.find("value"), "id", 0) == number
    assert getattr(btf.find("value", Kind.STRUCT), "id", 0) == struct
    assert btf.find("value", Kind.ENUM) is None
    assert btf.find("alue") is None
    assert btf.find("") is None
    assert [found.id for found in btf.find_all("value")] == [number, struct]


def test_finds_names_that_share_a_string() -> None:
    blob = Blob()
    at = blob.name("long_name")
    blob._types += b"".join(word.to_bytes(4, "little") for word in (at + 5, 1 << 24, 4, 32))
    blob._next += 1
    found = blob.btf().find("name")
    assert found is not None
    assert found.name == "name"


def test_resolves_chains() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    constant = blob.reference(Kind.CONST, number)
    named = blob.typedef("number", constant)
    btf = blob.btf()
    assert [found.id for found in btf.chain(named)] == [named, constant, number]
    assert btf.resolve(named).id == btf.resolve(number).id == number
    assert btf.resolve(0).kind is Kind.VOID


def test_split_btf_goes_on_where_its_base_ends() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    base = blob.btf()
    module = Blob(first=len(base), strings=base.string_bytes)
    pair = module.struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    split = module.btf(base)
    assert len(split) == 3
    assert split.type(pair).name == "pair"
    assert split.size(pair) == 8
    assert split.find("int") is base.type(number)
    assert [found.id for found in split.types()] == [number, pair]
    with pytest.raises(BtfError, match="different byte order"):
        Blob("big").btf(base)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: b"", "cut short"),
        (lambda raw: raw[:23], "cut short"),
        (lambda raw: b"\x7fELF" + raw[4:], "not BTF"),
        (lambda raw: raw[:2] + b"\x02" + raw[3:], "version 2"),
        (lambda raw: raw[:4] + b"\x08" + raw[5:], "header"),
        (lambda raw: raw[:-1], "cut short: its strings"),
        (lambda raw: raw[:-1] + b"x", "zero byte"),
        (lambda raw: raw[:28] + b"\x00\x00\x00\x1f" + raw[32:], "unknown kind 31"),
        (lambda raw: raw[:28] + b"\xff\xff\x00\x04" + raw[32:], "cut short inside type 1"),
        (lambda raw: raw[:12] + b"\x0d\x00\x00\x00" + raw[16:], "not words"),
    ],
)
def test_says_what_is_wrong_with_damaged_btf(damage: Any, message: str) -> None:
    blob = Blob()
    blob.integer("int", 4)
    with pytest.raises(BtfError, match=message):
        Btf.parse(damage(blob.raw()))


def test_says_which_type_or_string_is_not_there() -> None:
    blob = Blob()
    blob.typedef("self", 1)
    blob.typedef("nowhere", 99)
    btf = blob.btf()
    with pytest.raises(BtfError, match="without an end"):
        btf.resolve(1)
    with pytest.raises(BtfError, match="no type 99"):
        btf.resolve(2)
    with pytest.raises(BtfError, match="no type 3"):
        btf.type(3)
    with pytest.raises(BtfError, match="string 999"):
        btf.string(999)


@given(st.data())
def test_damage_anywhere_is_found_or_does_no_harm(data: st.DataObject) -> None:
    raw = bytearray(every_kind(data.draw(st.sampled_from(ORDERS))).raw())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.integers(len(raw) - 40, len(raw))) :]
    try:
        btf = Btf.parse(raw)
    except BtfError:
        return
    for type_id in range(len(btf)):
        try:
            assert btf.type(type_id).id == type_id
            assert btf.size(type_id) >= 0
            assert btf.alignment(type_id) >= 1
            assert btf.type_name(type_id)
        except BtfError:
            pass
