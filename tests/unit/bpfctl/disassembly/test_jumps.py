# SPDX-License-Identifier: Apache-2.0
"""Lines beside code: every jump has both ends, and all lines of text one width."""

from __future__ import annotations

from bpfctl.disassembly import listing
from bpfctl.disassembly.instruction import decode
from bpfctl.disassembly.jumps import MAX_LANES, Gutter
from bpfctl.disassembly.program import Program
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bpfctl.disassembly.encoded import EXIT, dumped, insn, mov


def test_lines_beside_a_listing() -> None:
    code = (
        *(insn(0x15, 1, 0, 4, 0), insn(0x15, 2, 0, 1, 0), mov(0, 1), insn(0x15, 3, 0, 1, 0)),
        *(insn(0x05, 0, 0, -4), EXIT),
    )
    # 0 and 3 go to 5, 1 to 3, 4 back to 1.
    assert list(listing.translated(Program(dumped(*code)), jumps=True))[1:] == [
        "┌───      0: if r1 == 0 goto 5",
        "│┌┬>      1: if r2 == 0 goto 3",
        "│││       2: r0 = 1",
        "├┼┴>      3: if r3 == 0 goto 5",
        "│└──      4: goto 1",
        "└──>      5: exit",
    ]


def beside(*code: bytes) -> list[tuple[str, str]]:
    instructions = decode(b"".join(code))
    gutter = Gutter(instructions)
    return [(gutter.above(each.index), gutter.at(each.index)) for each in instructions]


def test_lines_pass_what_stands_between_instructions() -> None:
    found = beside(mov(1, 9), insn(0x07, 1, 0, 0, -1), insn(0x55, 1, 0, -2, 0), EXIT)
    assert found == [("   ", "   "), ("   ", "┌> "), ("│  ", "└─ "), ("   ", "   ")]


def test_a_jump_to_itself_and_one_out_of_the_function() -> None:
    assert beside(insn(0x05, 0, 0, -1), EXIT) == [("   ", "─> "), ("   ", "   ")]
    assert beside(insn(0x05, 0, 0, 9), EXIT) == [("", ""), ("", "")]


def test_too_many_lines_beside_each_other() -> None:
    count = MAX_LANES + 9
    code = [insn(0x15, 1, 0, 2 * (count - index), 0) for index in range(count)]
    found = beside(*code, *[mov(0, 1)] * count, EXIT, EXIT)
    assert {len(text) for pair in found for text in pair} == {MAX_LANES + 2}


JUMPS = st.builds(
    insn, st.sampled_from([0x05, 0x15, 0xB7]), st.just(1), st.just(0), st.integers(-9, 9)
)


@given(st.lists(JUMPS, min_size=1, max_size=20))
def test_every_jump_is_drawn(code: list[bytes]) -> None:
    instructions = decode(b"".join(code))
    gutter = Gutter(instructions)
    drawn = {each.index: gutter.at(each.index) for each in instructions}
    above = [gutter.above(each.index) for each in instructions]
    assert {len(text) for text in (*drawn.values(), *above)} == {gutter.width}
    targets = {each.target for each in instructions if each.target in drawn}
    sources = {each.index for each in instructions if each.target in drawn}
    for index, text in drawn.items():
        assert (">" in text) == (index in targets)
        # Nothing but lines that pass where no jump starts or ends.
        assert (set(text) <= set("│ ")) == (index not in targets | sources)
