# SPDX-License-Identifier: Apache-2.0
"""Merged BTF, looked at with the client's parser, which shares nothing with the merging."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from bpfctl.btf import kinds
from bpfctl.btf.parse import TypeTable

from bpfd.attach.chain import btf as chain_btf
from bpfd.attach.chain.btf import Merged
from tests.unit.bpfctl.btf.objects import compiled, section
from tests.unit.bpfctl.btf.shapes import EVERYTHING

FUNCTIONS = """
typedef int number;
struct point { number x, y; };
volatile const int *place;
__attribute__((noinline)) static int area(struct point *p) { return p->x * p->y; }
__attribute__((section("xdp"))) int one(struct point *p) { return area(p) + *place; }
"""


@pytest.fixture
def blobs(tmp_path: Path) -> list[bytes]:
    return [section(compiled(source, tmp_path), ".BTF") for source in (EVERYTHING, FUNCTIONS)]


def references(found: kinds.Type) -> list[int]:
    """Every id that a type names."""
    match found:
        case kinds.Array():
            return [found.element, found.index]
        case kinds.Composite():
            return [member.type for member in found.members]
        case kinds.DataSection():
            return [variable.variable for variable in found.variables]
        case kinds.FunctionPrototype():
            return [found.returns, *(number for _, number in found.parameters)]
    return [
        getattr(found, name) for name in ("target", "prototype", "type") if hasattr(found, name)
    ]


def texts(found: kinds.Type) -> list[object]:
    """What a type says without ids."""
    said: list[object] = [found.kind, found.name]
    for name in ("size", "count", "linkage", "encoding", "bits", "component"):
        said.append(getattr(found, name, None))
    for name in ("members", "values", "parameters", "variables"):
        for each in getattr(found, name, ()):
            if isinstance(each, kinds.Member):
                said.append((each.name, each.bit_offset, each.bits))
            elif isinstance(each, kinds.SectionVariable):
                said.append((each.offset, each.size))
            else:
                said.append(each if isinstance(found, kinds.Enum) else each[0])
    return said


def same(before: TypeTable, now: TypeTable, moved: Callable[[int], int]) -> None:
    """Each type of `before` is in `now`, with every reference moved along."""
    for each in before.types():
        other = now.type(moved(each.id))
        assert texts(other) == texts(each)
        assert references(other) == [moved(number) for number in references(each)]


def test_what_is_added_first_keeps_its_numbers(blobs: list[bytes]) -> None:
    merged = Merged()
    shift = merged.add(blobs[0])
    assert (shift.types, shift.strings) == (0, 0)
    assert chain_btf.sections(merged.data()) == chain_btf.sections(blobs[0])


def test_every_type_is_there_with_its_references(blobs: list[bytes]) -> None:
    merged = Merged()
    shifts = [merged.add(blob) for blob in blobs]
    now = TypeTable.parse(merged.data())
    for blob, shift in zip(blobs, shifts, strict=True):
        before = TypeTable.parse(blob)
        assert len(before) > 10
        same(before, now, shift.type)
        assert now.string(shift.string(1)) == before.string(1) != ""
    assert len(now) - 1 == sum(len(TypeTable.parse(blob)) - 1 for blob in blobs)


def test_the_same_is_added_once(blobs: list[bytes]) -> None:
    merged = Merged()
    first, second = (merged.add(blobs[1]) for _ in range(2))
    assert first == second
    assert len(TypeTable.parse(merged.data())) == len(TypeTable.parse(blobs[1]))


def test_new_types_and_strings_come_behind(blobs: list[bytes]) -> None:
    merged = Merged()
    count = len(TypeTable.parse(blobs[1]))
    merged.add(blobs[1])
    number = merged.type(chain_btf.INT, "int", 4, 1 << 24 | 32)
    prototype = merged.type(chain_btf.FUNC_PROTO, "", number, vlen=0)
    function = merged.type(chain_btf.FUNC, "main", prototype, vlen=1)
    tag = merged.type(chain_btf.DECL_TAG, "what it is", function, 0xFFFFFFFF)
    assert (number, tag) == (count, count + 3)
    now = TypeTable.parse(merged.data())
    found = now.type(function)
    assert isinstance(found, kinds.Function)
    assert (found.name, found.linkage) == ("main", kinds.Linkage.GLOBAL)
    assert now.type(tag).name == "what it is"
    offset = merged.string("a line")
    assert merged.string("a line") == offset
    assert TypeTable.parse(merged.data()).string(offset) == "a line"


def test_a_function_becomes_static(blobs: list[bytes]) -> None:
    merged = Merged()
    merged.add(blobs[0])
    shift = merged.add(blobs[1])
    one = TypeTable.parse(blobs[1]).find("one", kinds.Kind.FUNC)
    assert isinstance(one, kinds.Function)
    assert one.linkage == kinds.Linkage.GLOBAL
    merged.set_linkage(shift.type(one.id), chain_btf.STATIC)
    found = TypeTable.parse(merged.data()).type(shift.type(one.id))
    assert isinstance(found, kinds.Function)
    assert found.linkage == kinds.Linkage.STATIC
    with pytest.raises(ValueError, match="no function"):
        merged.set_linkage(1, chain_btf.STATIC)


def test_the_walk_sees_what_the_client_sees(blobs: list[bytes]) -> None:
    for blob in blobs:
        table = TypeTable.parse(blob)
        found = [(each.number, each.name) for each in chain_btf.parse(blob)]
        assert found == [(each.id, each.name) for each in table.types()]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "shorter"),
        (bytes(24), "not whole BTF"),
        (chain_btf.HEADER.pack(0xEB9F, 1, 0, 24, 0, 12, 12, 1), "not whole BTF"),
    ],
)
def test_what_is_none_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Merged().add(data)


@pytest.mark.parametrize(
    ("types", "why"),
    [
        (struct.pack("=III", 0, 31 << 24, 0), "kind 31"),
        (struct.pack("=III", 0, chain_btf.INT << 24, 4), "is cut"),
        (struct.pack("=I", 0), "is cut"),
    ],
)
def test_damaged_types_are_refused(types: bytes, why: str) -> None:
    header = chain_btf.HEADER.pack(0xEB9F, 1, 0, 24, 0, len(types), len(types), 1)
    with pytest.raises(ValueError, match=why):
        Merged().add(header + types + b"\0")
