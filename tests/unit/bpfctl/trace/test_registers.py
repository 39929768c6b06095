# SPDX-License-Identifier: Apache-2.0
"""Places of arguments by the calling conventions' own words."""

from __future__ import annotations

from bpfctl.trace.registers import (
    BY_VALUE,
    FLOATING,
    ON_STACK,
    Convention,
    convention,
    places,
    result,
)
from bpfctl.trace.values import CType, integer

INT, LONG = integer(4), integer(8)
DOUBLE = CType("float", 8)


def known(machine: str, binary: str = "") -> Convention:
    found = convention(machine, binary)
    assert found is not None
    return found


def test_x86_64_has_six_and_floats_take_none() -> None:
    found = places(known("x86_64"), [INT, DOUBLE, *[LONG] * 6])
    assert [each.code for each in found[:3]] == ["ctx->di", "", "ctx->si"]
    assert found[1].why == FLOATING
    assert found[6].code == "ctx->r9"
    assert found[7].why == ON_STACK


def test_structs_by_value_take_registers_of_those_behind() -> None:
    two_words, large = CType("struct", 16), CType("struct", 40)
    found = places(known("x86_64"), [two_words, LONG, large, LONG])
    assert [each.code for each in found] == ["", "ctx->dx", "", "ctx->cx"]
    assert found[0].why == BY_VALUE
    # AAPCS64: a large one is a pointer to a copy.
    found = places(known("aarch64"), [large, LONG])
    assert found[1].code == "ctx->regs[1]"


def test_32_bit_arm_pairs() -> None:
    found = places(known("armv7l"), [INT, LONG, INT])
    assert found[1].code == "(ctx->uregs[2] | (__u64)ctx->uregs[3] << 32)"
    assert found[2].why == ON_STACK
    assert result(known("armv7l"), LONG).code == (
        "(ctx->uregs[0] | (__u64)ctx->uregs[1] << 32)"
    )


def test_machines_and_binaries_that_do_not_fit() -> None:
    assert convention("mips64") is None
    assert convention("x86_64", "EM_386") is None
    assert known("aarch64", "EM_ARM").word == 4
