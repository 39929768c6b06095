# SPDX-License-Identifier: Apache-2.0
"""The dispatcher, instruction by instruction, and where everything else comes to stand."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from bpfctl.btf import kinds
from bpfctl.btf.parse import TypeTable

from bpfd.attach.chain import btf as chain_btf
from bpfd.attach.chain import compose as chain_compose
from bpfd.attach.chain.compose import Part, compose, dispatcher, functions, obstacle
from bpfd.attach.chain.load import explained, frags_flag
from bpfd.attach.chain.member import NAME, Member, members_in
from bpfd.errors import InvalidArgument, LimitExceeded, NotSupported, VerifierRejected
from bpfd.kernel.constants import BPF_F_XDP_HAS_FRAGS
from bpfd.kernel.program_code import INSTRUCTION, Code, registers

MOV, CALL, EXIT, JEQ32, LD64 = 0xBF, 0x85, 0x95, 0x16, 0x18


def code(*instructions: tuple[int, int, int, int, int]) -> bytes:
    """(operation, target, source, offset, immediate) each."""
    return b"".join(
        INSTRUCTION.pack(operation, registers(target, source), offset, immediate)
        for operation, target, source, offset, immediate in instructions
    )


RETURN = code((0xB7, 0, 0, 0, 2), (EXIT, 0, 0, 0, 0))


def test_one_member() -> None:
    main, turns = dispatcher([Member(1, (2,), 1, "a")], [2])
    assert turns == [1]
    assert main == code(
        (MOV, 6, 1, 0, 0),
        (MOV, 1, 6, 0, 0),
        (CALL, 0, 1, 0, 1),  # to 4
        (EXIT, 0, 0, 0, 0),
    )


def test_three_members() -> None:
    members = [Member(1, (2,), 1, "a"), Member(2, (1, 2, 3), 2, "b"), Member(3, (0,), 3, "c")]
    main, turns = dispatcher(members, [10, 20, 30])
    assert turns == [1, 5, 11]
    assert main == code(
        (MOV, 6, 1, 0, 0),
        (MOV, 1, 6, 0, 0),  # 1
        (CALL, 0, 1, 0, 11),  # 2, to 14
        (JEQ32, 0, 0, 1, 2),
        (EXIT, 0, 0, 0, 0),
        (MOV, 1, 6, 0, 0),  # 5
        (CALL, 0, 1, 0, 17),  # 6, to 24
        (JEQ32, 0, 0, 3, 1),  # 7, to 11
        (JEQ32, 0, 0, 2, 2),
        (JEQ32, 0, 0, 1, 3),
        (EXIT, 0, 0, 0, 0),
        (MOV, 1, 6, 0, 0),  # 11
        (CALL, 0, 1, 0, 31),  # 12, to 44
        (EXIT, 0, 0, 0, 0),
    )


def test_the_code_behind_a_tail_call_may_be_any() -> None:
    members = [Member(1, (2,), 1, "a"), Member(2, (2,), 2, "b")]
    main, turns = dispatcher(members, [10, 20], tail_calls=[0, 1])
    assert turns == [1, 8]
    assert main == code(
        (MOV, 6, 1, 0, 0),
        (MOV, 1, 6, 0, 0),  # 1
        (CALL, 0, 1, 0, 8),  # 2, to 11
        (0x61, 1, 6, 16, 0),
        (0xAF, 0, 1, 0, 0),
        (0xAF, 0, 1, 0, 0),
        (JEQ32, 0, 0, 1, 2),  # 6, to 8
        (EXIT, 0, 0, 0, 0),
        (MOV, 1, 6, 0, 0),  # 8
        (CALL, 0, 1, 0, 11),  # 9, to 21
        (EXIT, 0, 0, 0, 0),
    )


def test_a_piece_goes_on_to_the_next() -> None:
    members = [Member(1, (2,), 1, "a"), Member(2, (1, 3), 2, "b")]
    main, turns = dispatcher(members, [10, 20], 77)
    assert turns == [1, 5]
    assert main == code(
        (MOV, 6, 1, 0, 0),
        (MOV, 1, 6, 0, 0),  # 1
        (CALL, 0, 1, 0, 14),  # 2, to 17
        (JEQ32, 0, 0, 1, 2),
        (EXIT, 0, 0, 0, 0),
        (MOV, 1, 6, 0, 0),  # 5
        (CALL, 0, 1, 0, 20),  # 6, to 27
        (JEQ32, 0, 0, 2, 1),  # 7, to 10
        (JEQ32, 0, 0, 1, 3),  # 8, to 10
        (EXIT, 0, 0, 0, 0),
        (MOV, 1, 6, 0, 0),  # 10
        (LD64, 2, 1, 0, 77),
        (0, 0, 0, 0, 0),
        (0xB7, 3, 0, 0, 0),
        (CALL, 0, 0, 0, 12),
        (0xB7, 0, 0, 0, 0),
        (EXIT, 0, 0, 0, 0),
    )


def run(parts: Sequence[tuple[tuple[int, ...], int]]) -> tuple[int, list[int]]:
    """(verdict, who ran) of a chain whose members return what is said, by interpreting it."""
    members = [Member(n + 1, proceed, n, str(n)) for n, (proceed, _) in enumerate(parts)]
    main, _ = dispatcher(members, [1] * len(parts))
    end, at, result = len(main) // 8, 0, -1
    ran: list[int] = []
    while True:
        operation, _, offset, immediate = INSTRUCTION.unpack_from(main, at * 8)
        if operation == EXIT:
            return result, ran
        if operation == CALL:
            ran.append(at + 1 + immediate - end)
            result = parts[ran[-1]][1]
        at += 1 + (offset if operation == JEQ32 and result == immediate else 0)


def test_every_code_goes_on_or_returns() -> None:
    for proceed in [(0,), (2,), (0, 4), (1, 2, 3), (0, 1, 2, 3, 4)]:
        for verdict in range(6):
            found = run([(proceed, verdict), ((2,), 9)])
            goes_on = verdict in proceed
            assert found == ((9, [0, 1]) if goes_on else (verdict, [0])), (proceed, verdict)


def test_twenty_run_in_their_order() -> None:
    assert run([((2,), 2)] * 19 + [((2,), 1)]) == (1, list(range(20)))


def btf_with(*names: str) -> bytes:
    """BTF with global functions; their ids are 2, 3, ..."""
    btf = chain_btf.Merged()
    prototype = btf.type(chain_btf.FUNC_PROTO)
    for name in names:
        btf.type(chain_btf.FUNC, name, prototype, vlen=1)
    return btf.data()


def test_the_whole() -> None:
    first = Code(RETURN, struct.pack("=II", 0, 2), struct.pack("=IIII", 0, 1, 1, 5 << 10))
    calls = code((CALL, 0, 1, 0, 1), (EXIT, 0, 0, 0, 0)) + RETURN
    second = Code(calls)
    third = Code(calls, struct.pack("=IIII", 0, 2, 2, 3))
    composed = compose(
        [
            Part(Member(1, (2,), 11, "a", "o/a", True), first, btf_with("alpha")),
            Part(Member(2, (2,), 12, "2-b c"), second),
            Part(Member(3, (2,), 13, "c"), third, btf_with("gamma", "delta")),
        ]
    )
    assert composed.starts == (12, 14, 18)
    assert composed.instructions[12 * 8 :] == RETURN + calls + calls
    table = TypeTable.parse(composed.btf)
    found = [
        (start, table.type(number))
        for start, number in struct.iter_unpack("=II", composed.func_info)
    ]
    assert [(start, each.name) for start, each in found] == [
        (0, NAME),
        (12, "alpha"),
        (14, "_2_b_c"),
        (16, "_2_b_c_1"),
        (18, "gamma"),
        (20, "delta"),
    ]
    linkages = [each.linkage for _, each in found if isinstance(each, kinds.Function)]
    # Those that are members; what these call stays as it was.
    assert linkages == [*[kinds.Linkage.STATIC] * 5, kinds.Linkage.GLOBAL]
    lines = list(struct.iter_unpack("=IIII", composed.line_info))
    assert [line[0] for line in lines] == [0, 1, 5, 9, 12, 14, 16, 18, 20]
    assert [table.string(line[2]) for line in lines[1:4]] == [
        "1: a by link o/a, goes on after pass",
        "2: 2-b c, goes on after pass",
        "3: c, goes on after pass",
    ]
    assert table.string(lines[4][1]) == "alpha"
    assert lines[4][3] == 5 << 10
    assert [each.program_id for each in members_in(composed.btf)] == [11, 12, 13]


def test_a_piece_tells_of_all_or_none() -> None:
    parts = [Part(Member(n, (2,), n, "x"), Code(RETURN)) for n in (1, 2, 3)]
    members = [each.member for each in parts]
    first = compose(parts[:2], members, 77)
    assert members_in(first.btf) == tuple(members)
    assert members_in(compose(parts[2:], ()).btf) == ()
    assert first.starts == (16, 18)


def test_functions_by_calls_and_references() -> None:
    body = code(
        (LD64, 2, 4, 0, 6),  # a callback at 7
        (0, 0, 0, 0, 0),
        (CALL, 0, 1, 0, 2),  # a function at 5
        (CALL, 0, 0, 0, 181),
        (EXIT, 0, 0, 0, 0),
    )
    assert functions(Code(body + RETURN + RETURN)) == [0, 5, 7]
    assert functions(Code(RETURN)) == [0]


def test_what_cannot_be_part_of_another() -> None:
    assert obstacle(Code(RETURN)) == ""
    assert "module" in obstacle(Code(code((CALL, 0, 2, 1, 99))))
    assert obstacle(Code(code((CALL, 0, 2, 0, 99)))) == ""
    assert "module" in obstacle(Code(code((LD64, 1, 3, 0, 99), (0, 0, 0, 0, 5))))
    assert obstacle(Code(code((LD64, 1, 3, 0, 99), (0, 0, 0, 0, 0)))) == ""
    assert "array" in obstacle(Code(code((LD64, 1, 5, 0, 0), (0, 0, 0, 0, 0))))


def test_tail_calls_are_seen() -> None:
    assert chain_compose.has_tail_calls(Code(code((CALL, 0, 0, 0, 12))))
    assert not chain_compose.has_tail_calls(Code(code((CALL, 0, 1, 0, 12))))
    hidden = code((LD64, 1, 0, 0, 7), (CALL, 0, 0, 0, 12))  # the second half of a load
    assert not chain_compose.has_tail_calls(Code(hidden))


def part(name: str, instructions: bytes = RETURN, flags: int = 0) -> Part:
    return Part(Member(1, (2,), 1, name), Code(instructions, flags=flags))


def test_fragments() -> None:
    plain, aware = part("plain"), part("aware", flags=BPF_F_XDP_HAS_FRAGS)
    assert frags_flag([plain, plain]) == 0
    assert frags_flag([aware, aware]) == BPF_F_XDP_HAS_FRAGS
    with pytest.raises(InvalidArgument, match=r"aware takes .* and plain does not"):
        frags_flag([plain, aware])


def test_refusals_in_words() -> None:
    jumps = part("jumps", code((CALL, 0, 0, 0, 12)))
    parts = [part("a"), jumps]
    for said in (
        "tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls",
        "mixing of tail_calls and bpf-to-bpf calls is not supported",
    ):
        error = explained(parts, 22, said)
        assert isinstance(error, NotSupported)
        assert "the tail calls of jumps inside a chain" in str(error)
    error = explained(parts, 13, "combined stack size of 3 calls is 544. Too large")
    assert isinstance(error, InvalidArgument)
    assert "a, jumps needs 544 bytes of stack" in str(error)
    said = "The total number of maps per program has reached the limit of 64"
    error = explained(parts, 7, said)
    assert isinstance(error, LimitExceeded)
    assert error.limit == 64
    said = "tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls"
    error = explained(parts[:1], 22, said, in_pieces=True)
    assert isinstance(error, NotSupported)
    assert "more than 64 maps" in str(error)
    error = explained(parts, 524, "processed 7 insns")
    assert isinstance(error, NotSupported)
    assert error.feature == "chains of XDP programs"
    error = explained(parts, 13, "R1 invalid mem access 'scalar'")
    assert isinstance(error, VerifierRejected)
    assert error.program == f"{NAME} (a, jumps)"
