# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from pathlib import Path

import pytest
from bpfctl.btf import Btf, BtfError, Kind, kinds
from bpfctl.btf.kinds import Linkage
from bpfctl.btf.parse import ByteOrder

from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.btf.objects import compiled, section

ORDERS: list[ByteOrder] = ["little", "big"]

LAYOUT = r"""
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64;
struct plain { u8 a; u32 b; u16 c; u64 d; u8 e; };
struct packed { u8 a; u32 b; u16 c; } __attribute__((packed));
struct nested { u8 a; struct plain b[3]; union { u64 c; u8 d[9]; } u; char *p; };
struct empty { };
enum e { E };
union either { u8 a[5]; u16 b; };
struct aligned { u8 a; } __attribute__((aligned(16)));
struct plain v1; struct packed v2; struct nested v3; struct empty v4; enum e v5;
union either v6; struct aligned v7; u32 (*v8[3])[4]; __int128 v9;
"""
NAMES = [f"v{number}" for number in range(1, 10)]


@pytest.mark.parametrize("order", ORDERS)
def test_sizes_and_offsets_are_those_of_the_compiler(tmp_path: Path, order: ByteOrder) -> None:
    offsets = [("plain", "abcde"), ("packed", "abc"), ("nested", "abup")]
    facts = [f"sizeof({name}), _Alignof({name})" for name in NAMES]
    facts += [
        f"__builtin_offsetof(struct {name}, {member})"
        for name, all_ in offsets
        for member in all_
    ]
    source = f"{LAYOUT} const u64 facts[] __attribute__((used)) = {{ {','.join(facts)} }};"
    elf = compiled(source, tmp_path, order)
    letter = "<" if order == "little" else ">"
    numbers = [fact for (fact,) in struct.iter_unpack(f"{letter}Q", section(elf, ".rodata"))]
    btf = Btf.parse(section(elf, ".BTF"))
    for name in NAMES:
        variable = btf.find(name, Kind.VAR)
        assert variable is not None
        assert btf.size(variable.id) == numbers.pop(0), name
        alignment = numbers.pop(0)
        # aligned(16) of one byte leaves no trace in BTF.
        assert name == "v7" or btf.alignment(variable.id) == alignment, name
    for name, members in offsets:
        found = btf.find(name, Kind.STRUCT)
        assert isinstance(found, kinds.Composite)
        by_name = {member.name: member.bit_offset // 8 for member in found.members}
        assert [by_name[member] for member in members] == [numbers.pop(0) for _ in members]
    assert numbers == []


def test_names_are_those_of_c(tmp_path: Path) -> None:
    source = r"""
    typedef unsigned int u32; struct s { int a; };
    const volatile u32 a; struct s *b; char c[3][16]; const char *const d; enum e { E } e;
    union u { int a; } f; void *g; int (*h)(void); struct { int x; } i; struct s **j;
    """
    btf = Btf.parse(section(compiled(source, tmp_path), ".BTF"))
    names = {variable.name: btf.type_name(variable.type_id) for variable in btf.variables()}
    assert names == {
        "a": "const volatile u32",
        "b": "struct s *",
        "c": "char[3][16]",
        "d": "const char * const",
        "e": "enum e",
        "f": "union u",
        "g": "void *",
        "h": "function *",
        "i": "struct {...}",
        "j": "struct s **",
    }


def test_finds_variables_of_an_object(tmp_path: Path) -> None:
    source = r"""
    const volatile unsigned int limit = 3; const volatile char name[16] = "x";
    static const volatile long hidden = 3; int counter;
    __attribute__((section("socket"), used)) int program(void *context)
    { return limit + name[0] + hidden + counter; }
    """
    btf = Btf.parse(section(compiled(source, tmp_path), ".BTF"))
    limit = btf.find_variable("limit")
    assert limit is not None
    assert (limit.section, limit.size, limit.linkage) == (".rodata", 4, Linkage.GLOBAL)
    assert limit.offset is None, "the symbol table has it"
    assert btf.type_name(limit.type_id) == "const volatile unsigned int"
    hidden = btf.find_variable("hidden")
    assert hidden is not None
    assert (hidden.offset, hidden.linkage) == (24, Linkage.STATIC)
    assert [variable.name for variable in btf.variables(".bss")] == ["counter"]
    assert btf.find_variable("limit", ".bss") is None
    assert btf.find_variable("nothing") is None


def test_finds_variables_of_a_loaded_map() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    local = blob.variable("setting", number, linkage=0)
    shared = blob.variable("setting", number)
    blob.section(".rodata", 16, [(local, 4, 4), (shared, 12, 4)])
    found = blob.btf().find_variable("setting")
    assert found is not None
    assert (found.offset, found.linkage) == (12, Linkage.GLOBAL)
    assert [part.name for part in blob.btf().sections] == [".rodata"]


def test_reads_decl_tags_of_types_members_and_variables() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    pair = blob.struct("pair", 8, [("a", number, 0), ("b", number, 32)])
    blob.tag("one", pair, 1)
    blob.tag("two", pair, 1)
    blob.tag("whole", pair)
    btf = blob.btf()
    assert btf.decl_tags(pair, 1) == ["one", "two"]
    assert btf.decl_tags(pair) == ["whole"]
    assert btf.decl_tags(pair, 0) == []


@pytest.mark.parametrize(("size", "name"), [(4, "long"), (8, "long unsigned int")])
def test_pointers_have_the_size_of_long(size: int, name: str) -> None:
    blob = Blob()
    blob.integer(name, size)
    pointer = blob.pointer()
    assert blob.btf().size(pointer) == blob.btf().alignment(pointer) == size
    assert Blob().btf().pointer_size == 8


def test_refuses_types_that_contain_themselves() -> None:
    blob = Blob()
    array = blob.array(1, 2)
    struct_ = blob.struct("loop", 4, [("a", 2, 0)])
    btf = blob.btf()
    with pytest.raises(BtfError, match="contains itself"):
        btf.size(array)
    with pytest.raises(BtfError, match="contains itself"):
        btf.alignment(struct_)
    with pytest.raises(BtfError, match="without an end"):
        btf.type_name(array)


def test_declarations() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    text = blob.pointer(blob.reference(Kind.CONST, blob.integer("char", 1)))
    several = blob.prototype(0, [("format", text), ("", 0)])
    ids = [blob.add(Kind.FUNC, "print", several), blob.add(Kind.FUNC, "get", number)]
    btf = blob.btf()
    assert btf.declaration(ids[0]) == "void print(const char *format, ...)"
    assert btf.declaration(ids[1]) == btf.declaration(number) == ""
