# SPDX-License-Identifier: Apache-2.0
"""Names of kernel addresses out of lines of /proc/kallsyms."""

from __future__ import annotations

from bpfd.kernel.symbol_names import Symbol, named

LINES_64 = [
    b"ffffffff81000000 T _text\nffffffff81000040 t first\nffffffff81000040 T alias\n",
    b"ffffffffc0001000 t bpf_prog_6deef7357e7b4530_x\t[bpf]\nffffffffc0002000 t f\t[veth]\n",
]


def test_wide_addresses_of_kernel_modules_and_programs() -> None:
    wanted = {0xFFFFFFFF81000040, 0xFFFFFFFFC0001000, 0xFFFFFFFFC0002000, 0xFFFFFFFF81000001}
    assert named(wanted, lambda: iter(LINES_64)) == [
        Symbol(0xFFFFFFFF81000040, "first", ""),
        Symbol(0xFFFFFFFFC0001000, "bpf_prog_6deef7357e7b4530_x", "bpf"),
        Symbol(0xFFFFFFFFC0002000, "f", "veth"),
    ]


def test_narrow_addresses() -> None:
    lines = [b"80100000 T stext\n8010ab40 T bpf_map_lookup_elem\n"]
    assert named({0x8010AB40}, lambda: iter(lines)) == [
        Symbol(0x8010AB40, "bpf_map_lookup_elem", "")
    ]


def test_a_kernel_that_hides_them() -> None:
    lines = [b"0000000000000000 T _text\n0000000000000000 T first\n"]
    assert named({0, 0xFFFFFFFF81000040}, lambda: iter(lines)) == []
    assert named(set(), lambda: iter(lines)) == []
