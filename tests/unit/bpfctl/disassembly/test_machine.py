# SPDX-License-Identifier: Apache-2.0
"""Machine code of every architecture with a JIT, by bytes that an assembler wrote."""

from __future__ import annotations

import pytest
from bpfctl.btf import Kind
from bpfctl.disassembly import listing
from bpfctl.disassembly.machine import MachineCode, disassemble
from bpfctl.disassembly.program import Program, Types
from bpfctl.errors import NotSupported
from hypothesis import given
from hypothesis import strategies as st

from bpfd.v1 import programs_pb2
from tests.unit.bpfctl.btf.blob import Blob

Shown = list[tuple[str, int]]


def shown(code: str, machine: str, address: int, bits: int = 64) -> Shown:
    found = disassemble(bytes.fromhex(code), address, machine, bits)
    return [(f"{each.mnemonic} {each.operands}".rstrip(), each.refers) for each in found]


def test_x86_64() -> None:
    code = "0f1f440000 55 48b800102030810088ff 48c7c6a02002c0 e8fb0f0000 eb02 c9 c3"
    assert shown(code.replace(" ", ""), "x86_64", 0xFFFFFFFFC0000000) == [
        ("nop dword ptr [rax + rax]", 0),
        ("push rbp", 0),
        ("movabs rax, 0xff88008130201000", 0xFF88008130201000),
        ("mov rsi, 0xffffffffc00220a0", 0xFFFFFFFFC00220A0),
        ("call 0xffffffffc0001017", 0xFFFFFFFFC0001017),
        ("jmp 0xffffffffc0000020", 0xFFFFFFFFC0000020),
        ("leave", 0),
        ("ret", 0),
    ]


ARM64 = (
    "0a5982d2"  # mov x10, #0x12c8
    "4a20b0f2"  # movk x10, #0x8102, lsl #16
    "0af8dff2"  # movk x10, #0xffc0, lsl #32
    "40013fd6"  # blr x10
    "8a468292"  # movn x10, #0x1234
    "0a00b0f2"  # movk x10, #0x8000, lsl #16
    "40013fd6"  # blr x10
    "40000094"  # bl #0x100
    "40000054"  # b.eq #8
    "800000b4"  # cbz x0, #16
    "fd7bbfa9"  # stp x29, x30, [sp, #-16]!
    "c0035fd6"  # ret
)


@pytest.mark.parametrize("machine", ["aarch64", "armv8l"])
def test_arm64_also_below_a_process_of_32_bits(machine: str) -> None:
    assert shown(ARM64, machine, 0xFFFF800080000000) == [
        ("mov x10, #0x12c8", 0),
        ("movk x10, #0x8102, lsl #16", 0),
        ("movk x10, #0xffc0, lsl #32", 0),
        ("blr x10", 0xFFC0810212C8),
        ("mov x10, #-0x1235", 0),
        ("movk x10, #0x8000, lsl #16", 0),
        ("blr x10", 0xFFFFFFFF8000EDCB),
        ("bl #0xffff80008000011c", 0xFFFF80008000011C),
        ("b.eq #0xffff800080000028", 0xFFFF800080000028),
        ("cbz x0, #0xffff800080000034", 0xFFFF800080000034),
        ("stp x29, x30, [sp, #-0x10]!", 0),
        ("ret", 0),
    ]


def test_arm() -> None:
    code = "346201e310604ce336ff2fe130402de90400001a020081e0"
    assert shown(code, "armv7l", 0xBF000000, 32) == [
        ("movw r6, #0x1234", 0),
        ("movt r6, #0xc010", 0),
        ("blx r6", 0xC0101234),
        ("push {r4, r5, lr}", 0),
        ("bne #0xbf000028", 0xBF000028),
        ("add r0, r1, r2", 0),
    ]


def test_riscv64_with_compressed_instructions() -> None:
    code = "1703f0ffe70043123705008113050502e70005006308b500011106ec8280"
    assert shown(code, "riscv64", 0xFFFFFFFF02000000) == [
        ("auipc t1, 0xfff00", 0),
        ("jalr ra, t1, 0x124", 0xFFFFFFFF01F00124),
        ("lui a0, 0x81000", 0),
        ("addi a0, a0, 0x20", 0),
        ("jalr a0", 0xFFFFFFFF81000020),
        ("beq a0, a1, 0x10", 0xFFFFFFFF02000024),
        ("c.addi sp, -0x20", 0),
        ("c.sdsp ra, 0x18(sp)", 0),
        ("c.jr ra", 0),
    ]


def test_bytes_that_are_no_instruction() -> None:
    assert shown("c306c3", "x86_64", 0) == [("ret", 0), (".byte 06", 0), ("ret", 0)]
    assert shown("ffffffffc0035fd6", "aarch64", 0)[0] == (".byte ff ff ff ff", 0)
    assert shown("c0035f", "aarch64", 0) == [(".byte c0 03 5f", 0)]


@given(
    st.binary(max_size=64),
    st.sampled_from([("x86_64", 64), ("aarch64", 64), ("armv7l", 32), ("riscv64", 64)]),
)
def test_any_bytes_are_shown(data: bytes, machine: tuple[str, int]) -> None:
    found = list(
        disassemble(data, 0xFFFF800000000000 if machine[1] == 64 else 0x1000, *machine)
    )
    assert b"".join(each.raw for each in found) == data


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(NotSupported, match="machine code of loongarch64"):
        list(disassemble(b"\0" * 8, 0, "loongarch64"))


def compiled() -> MachineCode:
    """Two functions at made-up addresses, the second one called by the first."""
    blob = Blob()
    number = blob.integer("int", 4)
    prototype = blob.prototype(number, [])
    ids = [blob.add(Kind.FUNC, name, prototype, count=1) for name in ("main", "helper")]
    file, first, second = (blob.name(text) for text in ("/src/a.c", "\treturn helper();", "{"))
    words = (0, ids[0], 9, ids[1])
    lines = (0, file, first, 3 << 10 | 2, 9, file, second, 9 << 10 | 1)
    message = programs_pb2.DumpProgramResponse(
        code=bytes.fromhex("e8fb0f0000c390c3"),
        function_addresses=[0x1000, 0x2000],
        function_sizes=[6, 2],
        func_info=b"".join(word.to_bytes(4, "little") for word in words),
        func_info_record_size=8,
        line_info=b"".join(word.to_bytes(4, "little") for word in lines),
        line_info_record_size=16,
        jited_line_addresses=[0x1000, 0x2000],
    )
    program = Program(message, Types(blob.btf()), jited=True)
    return MachineCode(program, "x86_64")


def test_functions_lines_and_names() -> None:
    code = compiled()
    assert [each.name for each in code.functions] == ["main", "helper"]
    assert list(listing.machine(code, opcodes=True)) == [
        "int main(void): 6 bytes at 0x1000",
        "; a.c:3: return helper();",
        f"     0: {'e8 fb 0f 00 00':<32}  call    0x2000  ; helper",
        f"     5: {'c3':<32}  ret",
        "",
        "int helper(void): 2 bytes at 0x2000",
        "; a.c:9: {",
        f"     0: {'90':<32}  nop",
        f"     1: {'c3':<32}  ret",
    ]
    rows = list(code.rows(code.functions[1]))
    assert rows[1] == {
        **{"function": "helper", "address": "0x2001", "offset": 1, "bytes": "c3"},
        **{"text": "ret", "refers": None, "name": None},
        **{"file": "/src/a.c", "line": 9, "column": 1, "source": "{"},
    }
    assert not code.references()


def test_a_function_that_only_the_kernel_knows() -> None:
    code = compiled()
    code.program.message.function_sizes.append(1)
    code.program.message.function_addresses.append(0x3000)
    code.program.message.code += b"\xc3"
    assert code.functions[2].name == "function_2"
    assert "function_2(): 1 bytes at 0x3000" in list(listing.machine(code))
