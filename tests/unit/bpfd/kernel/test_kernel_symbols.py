# SPDX-License-Identifier: Apache-2.0
"""Lines of /proc/kallsyms by address."""

from __future__ import annotations

import pytest

from bpfd.kernel.kernel_symbols import lines_with

TEXT = b"\n" + b"".join(f"{number:016x} t f{number}\n".encode() for number in range(100, 300))


@pytest.mark.parametrize("count", [1, 64, 65, 150])
def test_lines_of_few_and_of_many_addresses(count: int) -> None:
    marks = [f"\n{number:016x} ".encode() for number in range(120, 120 + count)]
    found = sorted(lines_with(TEXT, marks))
    assert found == [
        f"{number:016x} t f{number}".encode() for number in range(120, 120 + count)
    ]


def test_two_symbols_of_one_address_and_a_last_line_without_end() -> None:
    data = b"\n01 T first\n01 t second\n001 t other\n02 t last"
    assert list(lines_with(data, [b"\n01 ", b"\n02 "])) == [
        *(b"01 T first", b"01 t second"),
        b"02 t last",
    ]


def test_no_line() -> None:
    assert list(lines_with(b"\n01 t one\n", [b"\n1 ", b"\none "])) == []
