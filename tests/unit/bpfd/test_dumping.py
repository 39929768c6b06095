# SPDX-License-Identifier: Apache-2.0
"""What translated code refers to, and why there may be no code."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from bpfd import dumping
from bpfd.errors import NotSupported, PermissionMissing
from bpfd.kernel.program_dump import ProgramDump

BASE = 0xFFFFFFFF81000000


def insn(opcode: int, source: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", opcode, source << 4, 0, immediate)


def test_calls_and_numbers_of_64_bits() -> None:
    code = b"".join(
        (
            *(insn(0x85, 0, 0x100), insn(0x85, 2, -0x100)),
            insn(0x85, 1, 3),  # a function of the program
            *(insn(0x18, 0, -0x80000000), insn(0, 0, -1)),
            *(insn(0x18, 1, 44), insn(0)),  # a map by its id
            *(insn(0x18, 2, 45), insn(0, 0, 8)),
            insn(0x95),
            b"cut",
        )
    )
    assert dumping.referred(code, BASE) == {
        *(BASE + 0x100, BASE - 0x100),
        0xFFFFFFFF80000000,
    }


def test_calls_where_pointers_have_32_bits() -> None:
    assert dumping.referred(insn(0x85, 0, -4), 0xC0000000) == {0xBFFFFFFC}
    assert dumping.referred(insn(0x85, 0, 0x50000000), 0xC0000000) == {0x10000000}


def test_a_number_that_is_cut() -> None:
    assert dumping.referred(insn(0x18, 0, 5), BASE) == set()


HIDDEN = ProgramDump(
    code=b"",
    code_bytes=64,
    translated_bytes=64,
    addresses_hidden=True,
    function_addresses=[],
    function_sizes=[],
    func_info=b"",
    func_info_record_size=0,
    line_info=b"",
    line_info_record_size=0,
    jited_line_addresses=[],
    btf_id=0,
)


def test_reasons() -> None:
    with pytest.raises(PermissionMissing, match=r"machine code of program p.*CAP_SYSLOG and"):
        dumping._check(HIDDEN, "p", True)
    with pytest.raises(PermissionMissing, match=r"constants are blinded.*CAP_SYSLOG"):
        dumping._check(HIDDEN, "p", False)
    for jited in (False, True):
        with pytest.raises(PermissionMissing, match="program p needs CAP_BPF"):
            dumping._check(replace(HIDDEN, translated_bytes=0, code_bytes=0), "p", jited)
    with pytest.raises(NotSupported, match=r"it is interpreted.*bpf_jit_enable"):
        dumping._check(replace(HIDDEN, code_bytes=0), "p", True)
    dumping._check(replace(HIDDEN, code=b"\0" * 8), "p", True)
