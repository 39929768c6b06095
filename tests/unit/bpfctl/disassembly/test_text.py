# SPDX-License-Identifier: Apache-2.0
"""Instructions as text: every kind by hand-written bytes, and whatever bytes there are."""

from __future__ import annotations

import itertools

import pytest
from bpfctl.disassembly.instruction import decode
from bpfctl.disassembly.text import condition, render
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bpfctl.disassembly.encoded import EXIT, call, imm64, insn

OPERATORS = {
    **{0x00: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<="},
    **{0x70: ">>=", 0x90: "%=", 0xA0: "^=", 0xB0: "=", 0xC0: "s>>="},
}
COMPARISONS = {
    **{0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&", 0x50: "!=", 0x60: "s>", 0x70: "s>="},
    **{0xA0: "<", 0xB0: "<=", 0xC0: "s<", 0xD0: "s<="},
}
SIZES = {0x00: 32, 0x08: 16, 0x10: 8, 0x18: 64}


def one(data: bytes) -> str:
    (instruction,) = decode(data)
    return render(instruction)


@pytest.mark.parametrize(("operation", "word"), OPERATORS.items())
def test_arithmetic(operation: int, word: str) -> None:
    assert one(insn(0x07 | operation, 1, 0, 0, -7)) == f"r1 {word} -7"
    assert one(insn(0x0F | operation, 1, 2)) == f"r1 {word} r2"
    assert one(insn(0x04 | operation, 3, 0, 0, 65536)) == f"w3 {word} 0x10000"
    assert one(insn(0x0C | operation, 3, 4)) == f"w3 {word} w4"


@pytest.mark.parametrize(("operation", "word"), COMPARISONS.items())
def test_comparisons(operation: int, word: str) -> None:
    assert one(insn(0x05 | operation, 1, 0, 3, -1)) == f"if r1 {word} -1 goto 4"
    assert one(insn(0x0D | operation, 1, 2, -1)) == f"if r1 {word} r2 goto 0"
    assert one(insn(0x06 | operation, 1, 0, 3, 5)) == f"if w1 {word} 5 goto 4"
    assert one(insn(0x0E | operation, 1, 2, 0)) == f"if w1 {word} w2 goto 1"


@pytest.mark.parametrize(("size", "bits"), SIZES.items())
def test_memory(size: int, bits: int) -> None:
    assert one(insn(0x61 | size, 1, 2, 8)) == f"r1 = *(u{bits} *)(r2 +8)"
    assert one(insn(0x62 | size, 10, 0, -4, 9)) == f"*(u{bits} *)(r10 -4) = 9"
    assert one(insn(0x63 | size, 10, 3, -4)) == f"*(u{bits} *)(r10 -4) = r3"
    # As the kernel rewrites them: loads that may fault, and those of an arena.
    assert one(insn(0x21 | size, 1, 2, 8)) == f"r1 = *(u{bits} *)(r2 +8)"
    assert one(insn(0xA1 | size, 1, 2, 8)) == f"r1 = *(u{bits} *)(r2 +8)"
    assert one(insn(0xA3 | size, 1, 2, 8)) == f"*(u{bits} *)(r1 +8) = r2"


OTHERS = [
    (insn(0x87, 1), "r1 = -r1"),
    (insn(0x84, 1), "w1 = -w1"),
    # Byte order, and cpu v4's unconditional swap.
    (insn(0xD4, 1, 0, 0, 16), "r1 = le16 r1"),
    (insn(0xDC, 2, 0, 0, 64), "r2 = be64 r2"),
    (insn(0xD7, 3, 0, 0, 32), "r3 = bswap32 r3"),
    # cpu v4: signed division, sign extension, long jumps.
    (insn(0x37, 1, 0, 1, 3), "r1 s/= 3"),
    (insn(0x3F, 1, 2, 1), "r1 s/= r2"),
    (insn(0x9C, 1, 2, 1), "w1 s%= w2"),
    (insn(0xBF, 1, 2, 8), "r1 = (s8)r2"),
    (insn(0xBF, 1, 2, 32), "r1 = (s32)r2"),
    (insn(0xBC, 1, 2, 16), "w1 = (s16)w2"),
    (insn(0x81, 1, 2, 4), "r1 = *(s32 *)(r2 +4)"),
    (insn(0x89, 1, 2, 4), "r1 = *(s16 *)(r2 +4)"),
    (insn(0x91, 1, 2, -4), "r1 = *(s8 *)(r2 -4)"),
    (insn(0x06, 0, 0, 0, 100000), "gotol 100001"),
    (insn(0x05, 0, 0, -1), "goto 0"),
    (insn(0xE5, 0, 0, 5), "may_goto 6"),
    (insn(0x0D, 3), "gotox r3"),
    # Address spaces, and the kernel's own address of per-CPU data.
    (insn(0xBF, 1, 2, 1, 1), "r1 = addr_space_cast(r2, 0, 1)"),
    (insn(0xBF, 1, 2, 1, 0x10000), "r1 = addr_space_cast(r2, 1, 0)"),
    (insn(0xBF, 1, 1, -1), "r1 = &(void __percpu *)(r1)"),
    # Atomics.
    (insn(0xDB, 1, 2, 8, 0x00), "lock *(u64 *)(r1 +8) += r2"),
    (insn(0xC3, 1, 2, 8, 0x40), "lock *(u32 *)(r1 +8) |= r2"),
    (insn(0xDB, 1, 2, 8, 0x50), "lock *(u64 *)(r1 +8) &= r2"),
    (insn(0xDB, 1, 2, 8, 0xA0), "lock *(u64 *)(r1 +8) ^= r2"),
    (insn(0xDB, 1, 2, 8, 0x01), "r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)"),
    (insn(0xC3, 1, 2, 8, 0x41), "r2 = atomic_fetch_or((u32 *)(r1 +8), r2)"),
    (insn(0xDB, 1, 2, 8, 0x51), "r2 = atomic64_fetch_and((u64 *)(r1 +8), r2)"),
    (insn(0xDB, 1, 2, 8, 0xA1), "r2 = atomic64_fetch_xor((u64 *)(r1 +8), r2)"),
    (insn(0xDB, 1, 2, 8, 0xE1), "r2 = atomic64_xchg((u64 *)(r1 +8), r2)"),
    (insn(0xC3, 1, 2, 8, 0xF1), "r0 = atomic_cmpxchg((u32 *)(r1 +8), r0, r2)"),
    (insn(0xDB, 1, 2, 8, 0x100), "r1 = load_acquire((u64 *)(r2 +8))"),
    (insn(0xD3, 1, 2, 8, 0x100), "r1 = load_acquire((u8 *)(r2 +8))"),
    (insn(0xCB, 1, 2, 8, 0x110), "store_release((u16 *)(r1 +8), r2)"),
    (insn(0xFB, 1, 2, 8, 0x00), "lock *(u64 *)(r1 +8) += r2"),  # of an arena
    # Packet access of old.
    (insn(0x30, 0, 0, 0, 12), "r0 = *(u8 *)skb[12]"),
    (insn(0x48, 0, 6, 0, 2), "r0 = *(u16 *)skb[r6 +2]"),
    # Calls.
    (call(12), "call bpf_tail_call"),
    (call(0), "call (hidden)"),
    (call(4096), "call helper 0x1000"),
    (call(4096, source=2), "call kfunc 0x1000"),
    (call(1, source=1, offset=5), "call function at 6"),
    (call(5, source=1), "call function at 6"),
    (insn(0x8D, 0, 0, 0, 3), "callx r3"),
    (EXIT, "exit"),
    (insn(0xC2), "nospec"),
    # Numbers of 64 bits and what else they may stand for.
    (imm64(1, 0, -1, 0x12), "r1 = 0x12ffffffff"),
    (imm64(1, 0, 5), "r1 = 5"),
    (imm64(1, 1, 44), "r1 = map[id:44]"),
    (imm64(1, 2, 44, 16), "r1 = map[id:44][0]+16"),
    (imm64(1, 3, 91), "r1 = btf_id[91]"),
    (imm64(1, 4, 7), "r1 = &function at 8"),
    (imm64(1, 5, 2), "r1 = map[idx:2]"),
    (imm64(1, 6, 2, 8), "r1 = map[idx:2][0]+8"),
]


@pytest.mark.parametrize(("data", "text"), OTHERS, ids=[text for _, text in OTHERS])
def test_others(data: bytes, text: str) -> None:
    assert one(data) == text


@pytest.mark.parametrize(
    "data",
    [
        insn(0xE7, 1),  # no such operation
        insn(0xDF, 1, 0, 0, 16),  # a swap of 64 bits that takes a register
        insn(0xBF, 1, 2, 7),
        insn(0xBC, 1, 2, -1),
        insn(0x86),  # a call of 32 bits
        insn(0x96),
        insn(0xF5),
        insn(0x38),  # packet access of 64 bits
        insn(0x99, 1, 2),  # sign extension to 64 bits
        insn(0xD3, 1, 2, 8, 0x00),  # an atomic byte
        insn(0xDB, 1, 2, 8, 0x77),
        insn(0x18, 1),  # no second half
        imm64(1, 9, 0),
        insn(0x00),
    ],
)
def test_what_is_none(data: bytes) -> None:
    assert one(data) == f"unknown opcode {data[0]:#04x} ({data.hex()})"


def test_known_opcodes_are_those_of_the_standard() -> None:
    """RFC 9669 lists them; the kernel adds the nine of its own code and cpu v4's two jumps."""
    arithmetic = {op | form for op in OPERATORS for form in (0x04, 0x0C, 0x07, 0x0F)}
    jumps = {op | form for op in COMPARISONS for form in (0x05, 0x0D, 0x06, 0x0E)}
    others = {0x84, 0x87, 0x8C, 0x8F, 0xD4, 0xDC, 0xD7}
    flow = {0x05, 0x06, 0x85, 0x95, 0xE5, 0x0D, 0x8D}
    memory = {0x61, 0x62, 0x63, 0xA1, 0xA2, 0xA3, 0x21}
    loads = {mode | size for mode in memory for size in SIZES}
    signed = {mode | size for mode in (0x81, 0x41, 0xC1) for size in (0, 8, 0x10)}
    packet = {mode | size for mode in (0x20, 0x40) for size in (0, 8, 0x10)}
    atomics = {0xC3, 0xDB, 0xE3, 0xFB}
    known = set()
    for opcode in range(256):
        data = insn(opcode) if opcode != 0x18 else imm64(0, 0, 0)
        if not one(data).startswith("unknown"):
            known.add(opcode)
    wanted = arithmetic | jumps | others | flow | loads | signed | packet | atomics
    assert known == wanted | {0x18, 0xC2}


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_shown(data: bytes, big_endian: bool) -> None:
    found = decode(data, big_endian=big_endian)
    assert b"".join(each.raw for each in found) == data[: len(data) // 8 * 8]
    index = 0
    for each in found:
        assert each.index == index
        index = each.following
        text = render(each)
        assert text
        assert "\n" not in text
        if each.is_conditional:
            assert condition(each) != condition(each, negated=True)
            assert each.target is not None


def test_big_endian_is_the_same_program() -> None:
    little = insn(0x63, 10, 1, -4) + imm64(2, 1, 7, 0)
    big = bytes.fromhex("63a1fffc0000000018210000000000070000000000000000")
    assert [render(each) for each in decode(big, big_endian=True)] == [
        render(each) for each in decode(little)
    ]


def test_negated_conditions_are_opposites() -> None:
    pairs = {}
    for operation in COMPARISONS:
        (each,) = decode(insn(0x05 | operation, 1, 0, 3, 8))
        pairs[condition(each)] = condition(each, negated=True)
    assert pairs["r1 s> 8"] == "r1 s<= 8"
    assert pairs["r1 & 8"] == "!(r1 & 8)"
    for one_way, other in itertools.chain(pairs.items()):
        assert pairs.get(other, one_way) == one_way
