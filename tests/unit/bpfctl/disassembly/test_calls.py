# SPDX-License-Identifier: Apache-2.0
"""The call graph: functions, kernel functions, maps, and programs behind prog arrays."""

from __future__ import annotations

from bpfctl.disassembly import calls
from bpfctl.disassembly.program import Program

from bpfd.v1 import common_pb2, programs_pb2
from tests.unit.bpfctl.disassembly.encoded import EXIT, call, dumped, imm64

BASE = 0xFFFFFFFF81000000
JUMPS = common_pb2.KernelMap(id=3, name="jumps", type=common_pb2.MAP_TYPE_PROG_ARRAY)
COUNTS = common_pb2.KernelMap(id=4, name="counts", type=common_pb2.MAP_TYPE_ARRAY)


def caller(number: int) -> Program:
    """A program with one more function, a helper that it calls twice, and a tail call."""
    code = (
        *(imm64(2, 1, 3), call(12), call(64), call(1, source=1, offset=2), call(64), EXIT),
        *(call(64), EXIT),
    )
    symbol = programs_pb2.KernelSymbol(address=BASE + 64, name="bpf_ktime_get_ns")
    message = dumped(*code, symbols=[symbol], call_base=BASE, maps=[JUMPS, COUNTS])
    message.program.id = number
    message.program.type = common_pb2.PROGRAM_TYPE_XDP
    return Program(message)


def test_a_cycle_of_tail_calls_ends() -> None:
    graph = calls.graph([caller(7), caller(8)], {3: {0: 8, 1: 8, 2: 8, 5: 7, 6: 9}})
    assert list(calls.text(graph, "program 7")) == [
        "program main (id 7, xdp)",
        "  main()",
        "    calls bpf_tail_call()",
        "    calls bpf_ktime_get_ns()  (2 times)",
        "    calls function_7()",
        "      calls bpf_ktime_get_ns()",
        "  tail-calls through map jumps (id 3, prog_array)",
        "    [0-2] program main (id 8, xdp)",
        "      main()",
        "        calls bpf_tail_call()",
        "        calls bpf_ktime_get_ns()  (2 times)",
        "        calls function_7()",
        "          calls bpf_ktime_get_ns()",
        "      tail-calls through map jumps (id 3, prog_array)  (see above)",
        "      uses map counts (id 4, array)",
        "    [5] program main (id 7, xdp)  (see above)",
        "    [6] program ? (id 9)",
        "  uses map counts (id 4, array)",
    ]


def test_records_name_what_edges_refer_to() -> None:
    graph = calls.graph([caller(7)], {3: {0: 9}})
    found = calls.record(graph)
    keys = {node["key"] for node in found["nodes"]}
    assert {edge["from"] for edge in found["edges"]} | {
        edge["to"] for edge in found["edges"]
    } <= keys
    (holds,) = [edge for edge in found["edges"] if edge["kind"] == "holds"]
    assert holds == {
        **{"from": "map 3", "to": "program 9", "kind": "holds", "count": 1, "indices": [0]}
    }
    dot = list(calls.dot(graph, "main"))
    assert '  "map 3" -> "program 9" [label="0"];' in dot
    assert dot[-1] == "}"


def test_a_chain_of_very_many_programs() -> None:
    programs = []
    held = {}
    for number in range(1, 400):
        array = common_pb2.KernelMap(id=number, type=common_pb2.MAP_TYPE_PROG_ARRAY)
        message = dumped(EXIT, maps=[array])
        message.program.id = number
        programs.append(Program(message))
        held[number] = {0: number + 1}
    lines = list(calls.text(calls.graph(programs, held), "program 1"))
    assert len(lines) == 399 * 3 + 1
    assert lines[-1].endswith("program ? (id 400)")
