# SPDX-License-Identifier: Apache-2.0
"""Control flow: blocks hold every instruction once, edges are where jumps go."""

from __future__ import annotations

from bpfctl.disassembly import flow
from bpfctl.disassembly.instruction import decode
from bpfctl.disassembly.program import Program
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bpfctl.disassembly.encoded import EXIT, call, dumped, imm64, insn, mov


def flow_of(*code: bytes) -> flow.Flow:
    program = Program(dumped(*code))
    return flow.flow(program, program.functions[0])


def shape(found: flow.Flow) -> tuple[list[tuple[int, int]], list[tuple[int, int, str, str]]]:
    return (
        [(block.start, block.last.following) for block in found.blocks],
        [(edge.source, edge.target, edge.kind, edge.condition) for edge in found.edges],
    )


def test_branches_meet_again() -> None:
    found = flow_of(
        *(insn(0x15, 1, 0, 2, 5), mov(0, 1), insn(0x05, 0, 0, 2)),
        *(imm64(2, 0, 7), mov(0, 2), EXIT),
    )
    blocks, edges = shape(found)
    # 0: if r1 == 5 goto 3; 1-2; 3: ld_imm64 of two places; 5: both meet
    assert blocks == [(0, 1), (1, 3), (3, 5), (5, 7)]
    assert edges == [
        *((0, 2, "taken", "r1 == 5"), (0, 1, "not taken", "r1 != 5")),
        *((1, 3, "goto", ""), (2, 3, "next", "")),
    ]
    assert found.reachable() == {0, 1, 2, 3}
    assert found.loops == 0


def test_a_loop_has_a_way_back() -> None:
    found = flow_of(mov(1, 9), insn(0x07, 1, 0, 0, -1), insn(0x55, 1, 0, -2, 0), EXIT)
    assert shape(found) == (
        [(0, 1), (1, 3), (3, 4)],
        [
            *((0, 1, "next", ""), (1, 1, "taken", "r1 != 0")),
            (1, 2, "not taken", "r1 == 0"),
        ],
    )
    assert found.loops == 1


def test_code_that_nothing_leads_to() -> None:
    found = flow_of(insn(0x05, 0, 0, 1), mov(0, 1), EXIT)
    assert found.reachable() == {0, 2}
    program = Program(dumped(insn(0x05, 0, 0, 1), mov(0, 1), EXIT))
    assert "+ block 1  (not reached)" in list(flow.text(program, [found]))


def test_long_jumps_and_budgets() -> None:
    found = flow_of(insn(0xE5, 0, 0, 1), insn(0x06, 0, 0, 0, -2), EXIT)
    assert shape(found)[1] == [
        *((0, 2, "taken", "budget used up"), (0, 1, "not taken", "within budget")),
        (1, 0, "goto", ""),
    ]


def test_where_to_a_register_says() -> None:
    found = flow_of(insn(0x15, 1, 0, 1, 0), insn(0x0D, 2), EXIT, mov(0, 1), EXIT)
    assert (1, 3, "goto", "r2 says so") in shape(found)[1]
    assert found.reachable() == {0, 1, 2, 3}


def test_functions_have_graphs_of_their_own() -> None:
    program = Program(dumped(call(1, 1, 1), EXIT, insn(0x15, 1, 0, 1, 0), mov(0, 1), EXIT))
    first, second = (flow.flow(program, each) for each in program.functions)
    assert shape(first) == ([(0, 2)], [])
    assert [(block.start, block.last.index) for block in second.blocks] == [
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    assert second.reachable() == {0, 1, 2}


def test_text_dot_and_record_agree() -> None:
    program = Program(dumped(insn(0x15, 1, 0, 1, 0), mov(0, 1), EXIT))
    found = flow.flow(program, program.functions[0])
    assert list(flow.text(program, [found])) == [
        "main(): 3 blocks",
        "",
        "+ block 0",
        "|     0: if r1 == 0 goto 2",
        "+ -> block 2  if r1 == 0, -> block 1  if r1 != 0",
        "",
        "+ block 1  <- block 0",
        "|     1: r0 = 1",
        "+ -> block 2",
        "",
        "+ block 2  <- block 0, block 1",
        "|     2: exit",
        "+ exit",
    ]
    graph = list(flow.dot(program, [found]))
    assert graph[0] == 'digraph "main" {'
    assert '    f0_0 -> f0_2 [label="r1 == 0" color=darkgreen];' in graph
    assert '    f0_1 [label="    1: r0 = 1\\l"];' in graph
    (function,) = flow.record(program, [found])["functions"]
    assert [block["start"] for block in function["blocks"]] == [0, 1, 2]
    assert function["edges"][0] == {
        **{"from": 0, "to": 2, "kind": "taken", "condition": "r1 == 0", "back": False}
    }


def test_what_graphviz_would_take_for_its_own() -> None:
    assert flow.quoted('a "b" \\l \x1b[2J') == '"a \\"b\\" \\\\l \\\\x1b[2J"'


JUMPS = st.builds(
    insn,
    st.sampled_from([0x05, 0x06, 0x15, 0x1D, 0xE5, 0x95, 0xB7, 0x0D, 0x85]),
    st.integers(0, 10),
    st.just(0),
    st.integers(-12, 12),
    st.integers(-12, 12),
)


@given(st.lists(JUMPS, min_size=1, max_size=24))
def test_any_code_is_split_into_blocks(code: list[bytes]) -> None:
    program = Program(dumped(*code))
    every = []
    for function in program.functions:
        found = flow.flow(program, function)
        every += [each for block in found.blocks for each in block.instructions]
        numbers = {block.number for block in found.blocks}
        assert {edge.source for edge in found.edges} <= numbers
        assert {edge.target for edge in found.edges} <= numbers
        assert found.reachable() <= numbers
        for block in found.blocks:
            assert not any(each.ends_block for each in block.instructions[:-1])
        assert list(flow.text(program, [found]))
    assert every == decode(b"".join(code))
