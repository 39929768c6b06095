# SPDX-License-Identifier: Apache-2.0
"""What numbers in a dump stand for: functions, maps, variables, calls, source lines."""

from __future__ import annotations

import struct

import pytest
from bpfctl.btf import Kind
from bpfctl.disassembly import listing
from bpfctl.disassembly.functions import chosen
from bpfctl.disassembly.program import Program, Types
from bpfctl.disassembly.text import render
from bpfctl.errors import NotFound

from bpfd.v1 import common_pb2, programs_pb2
from tests.unit.bpfctl.btf.blob import Blob
from tests.unit.bpfctl.disassembly.encoded import EXIT, call, dumped, imm64, insn, mov

BASE = 0xFFFFFFFF81000000


def words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def texts(program: Program) -> list[str]:
    return [render(each, program) for each in program.instructions]


def with_lines() -> Program:
    """Two functions with BTF: main calls helper."""
    blob = Blob()
    number = blob.integer("int", 4)
    context = blob.pointer(blob.struct("xdp_md", 4, [("data", number, 0)]))
    main = blob.add(Kind.FUNC, "main", blob.prototype(number, [("ctx", context)]), count=1)
    helper = blob.add(Kind.FUNC, "helper", blob.prototype(number, []))
    names = [blob.name(text) for text in ("/src/a.c", "\treturn helper();", "{", "/inc/b.h")]
    file, first, second, header = names
    message = dumped(
        *(mov(1, 1), call(1, source=1, offset=1), EXIT, mov(0, 5), mov(0, 6), EXIT),
        func_info=words(0, main, 3, helper),
        func_info_record_size=8,
        line_info=b"".join(
            (
                words(0, file, first, 3 << 10 | 2),
                words(1, file, first, 3 << 10 | 9),
                words(3, header, second, 9 << 10 | 1),
            )
        ),
        line_info_record_size=16,
        function_addresses=[0x1000, 0x2000],
    )
    return Program(message, Types(blob.btf()))


def test_listing_with_source_lines() -> None:
    program = with_lines()
    assert list(listing.translated(program)) == [
        "int main(struct xdp_md *ctx): instructions 0-2 at 0x1000",
        "; a.c:3: return helper();",
        "     0: r1 = 1",
        "     1: call helper",
        "     2: exit",
        "",
        "int helper(void): instructions 3-5 at 0x2000",
        "; b.h:9: {",
        "     3: r0 = 5",
        "     4: r0 = 6",
        "     5: exit",
    ]
    (second,) = chosen(program.functions, "helper")
    found = list(listing.translated(program, [second], source=False, opcodes=True))
    assert found[1] == f"     3: {'b7 00 00 00 05 00 00 00':<48}  r0 = 5"
    with pytest.raises(NotFound, match="did you mean helper"):
        chosen(program.functions, "helpr")


def test_rows() -> None:
    first, second, *_ = map(with_lines().row, with_lines().instructions)
    assert first == {
        **{"index": 0, "function": "main", "bytes": "b701000001000000", "text": "r1 = 1"},
        **{"target": None, "callee": None, "map_id": None, "map": None, "variable": None},
        **{"file": "/src/a.c", "line": 3, "column": 2, "source": "\treturn helper();"},
    }
    assert second["callee"] == "helper"
    assert second["column"] == 9


def test_functions_without_btf_are_those_that_are_called() -> None:
    symbols = [
        programs_pb2.KernelSymbol(address=0x1000, name="bpf_prog_00112233445566aa_main"),
        programs_pb2.KernelSymbol(address=0x2000, name="bpf_prog_00112233445566ab_checks"),
        programs_pb2.KernelSymbol(address=0x3000, name="bpf_prog_00112233445566ac_F"),
    ]
    code = (call(1, 1, 2), imm64(2, 4, 3, 2), mov(0, 1), EXIT, mov(0, 2), EXIT)
    # A call to 3, a callback at 5.
    program = Program(
        dumped(*code, symbols=symbols, function_addresses=[0x1000, 0x2000, 0x3000])
    )
    assert [(each.name, each.start, each.end) for each in program.functions] == [
        ("main", 0, 3),
        ("checks", 3, 5),
        ("function_5", 5, 7),
    ]
    assert texts(program)[:2] == ["call checks", "r2 = &function_5"]


def test_a_call_that_is_farther_than_16_bits_goes_by_the_functions_number() -> None:
    program = with_lines()
    program.message.code = call(1, 1, -30000) + program.message.code[8:]
    assert texts(program)[0] == "call helper"
    assert program.row(program.instructions[0])["callee"] == "helper"


def test_calls_of_the_kernel() -> None:
    kernel = Blob()
    number = kernel.integer("int", 4)
    kfunc = kernel.add(Kind.FUNC, "bpf_far", kernel.prototype(number, []), count=1)
    kernel.enum("bpf_func_id", 4, {"BPF_FUNC_unspec": 0, "BPF_FUNC_map_lookup_elem": 1})
    symbols = [
        programs_pb2.KernelSymbol(address=BASE + 64, name="__htab_map_lookup_elem"),
        programs_pb2.KernelSymbol(address=BASE - 64, name="bpf_task_from_pid"),
        programs_pb2.KernelSymbol(address=BASE + 4096, name="jiffies"),
    ]
    at = BASE + 4096
    code = (
        *(call(64), call(-64, source=2), call(kfunc, source=2), call(1), call(0), call(99999)),
        imm64(1, 0, at & 0x7FFFFFFF | -(at & 0x80000000), -1),
    )
    program = Program(
        dumped(*code, symbols=symbols, call_base=BASE), Types(kernel=lambda: kernel.btf())
    )
    assert texts(program) == [
        *("call __htab_map_lookup_elem", "call bpf_task_from_pid", "call bpf_far"),
        *("call bpf_map_lookup_elem", "call (hidden)", "call helper 0x1869f", "r1 = &jiffies"),
    ]


def test_addresses_that_have_names() -> None:
    code = (call(64), call(12), call(0), call(1, source=1, offset=1), EXIT, EXIT)
    program = Program(dumped(*code, call_base=BASE, function_addresses=[0x1000]))
    assert program.addresses() >= {BASE + 64, 0x1000}
    assert BASE not in program.addresses()
    assert Program(dumped(*code)).addresses() == set()


def test_calls_of_a_kernel_with_pointers_of_32_bits() -> None:
    symbols = [programs_pb2.KernelSymbol(address=0xBFFFFF00, name="bpf_trace_printk")]
    program = Program(dumped(call(-0x100), symbols=symbols, call_base=0xC0000000))
    assert texts(program) == ["call bpf_trace_printk"]
    symbols = [programs_pb2.KernelSymbol(address=0x100, name="low")]
    program = Program(dumped(call(0x200), symbols=symbols, call_base=0xFFFFFF00))
    assert texts(program) == ["call low"]


def test_maps_and_variables() -> None:
    blob = Blob()
    number = blob.integer("int", 4)
    array = blob.array(number, 4)
    section = blob.section(
        ".bss",
        24,
        [(blob.variable("first", number), 0, 4), (blob.variable("all", array), 8, 16)],
    )
    maps = [
        common_pb2.KernelMap(id=5, name="short", member="the_full_name"),
        common_pb2.KernelMap(id=6, name="x.bss", btf_id=1, btf_value_type_id=section),
        common_pb2.KernelMap(id=7, name="twice"),
        common_pb2.KernelMap(id=8, name="twice"),
    ]
    code = (
        imm64(1, 1, 5),
        imm64(1, 2, 6, 12),
        imm64(1, 2, 6, 4),
        imm64(1, 1, 8),
        imm64(1, 1, 9),
    )
    program = Program(dumped(*code, maps=maps), Types(of_map=lambda _: blob.btf()))
    assert texts(program) == [
        *("r1 = map[the_full_name]", "r1 = map[x.bss][0]+12", "r1 = map[x.bss][0]+4"),
        *("r1 = map[twice#8]", "r1 = map[id:9]"),
    ]
    assert [program.variable(each) for each in program.instructions] == [
        "",
        "all+4",
        "",
        "",
        "",
    ]
    assert "     2: r1 = map[x.bss][0]+12  ; &all+4" in list(listing.translated(program))
    row = program.row(program.instructions[1])
    assert (row["map_id"], row["map"], row["variable"]) == (6, "x.bss", "all+4")


def test_damaged_records_are_no_failure() -> None:
    program = with_lines()
    program.message.line_info = words(0, 9999, 9999, 5 << 10)
    program.message.func_info = words(0, 9999, 1 << 30, 1)
    assert list(listing.translated(program))[:2] == [
        "main(): instructions 0-5 at 0x1000",
        "; 5: ",
    ]
    program = with_lines()
    program.message.line_info_record_size = 3
    program.message.func_info_record_size = 0
    assert [each.name for each in program.functions] == ["main", "function_3"]
    assert program.line(0) is None


def test_an_instruction_of_one_place_at_the_end() -> None:
    program = Program(dumped(EXIT, insn(0x18, 1)))
    assert texts(program) == ["exit", "unknown opcode 0x18 (1801000000000000)"]
    assert program.row(program.instructions[1])["map_id"] is None
