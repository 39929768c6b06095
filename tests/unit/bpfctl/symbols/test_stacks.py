# SPDX-License-Identifier: Apache-2.0
"""Values of stack_trace maps."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, cast

from bpfctl.symbols import stacks
from bpfctl.target import Target

KALLSYMS = b"""ffffffff81000000 T _stext
ffffffff81000100 t helper
ffffffff81000200 D data
ffffffffc0000000 t of_module\t[nf_tables]
"""


class FakeRpc:
    """Gives the symbols above."""

    target = SimpleNamespace(GetKallsyms=None, ListProcesses=None)

    def stream(self, *_: Any) -> FakeRpc:
        return self

    def __enter__(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(data=KALLSYMS)]

    def __exit__(self, *_: object) -> None:
        return


def symbols(**fields: Any) -> stacks.StackSymbols:
    target = SimpleNamespace(
        info=lambda: SimpleNamespace(
            big_endian=False, pointer_bits=64, boot_id="", kernel_build_id=b""
        ),
        rpc=FakeRpc(),
        files=None,
    )
    return stacks.StackSymbols(cast("Target", target), **fields)


def test_frames_end_with_the_stack() -> None:
    raw = struct.pack("<4Q", 0xFFFFFFFF81000110, 0x1234, 0, 0)
    assert symbols().frames(raw) == ["helper+0x10", "0x1234"]


def test_build_ids_stand_for_files() -> None:
    valid = struct.pack("<i20sQ", 1, b"\xab" * 20, 0x40)
    address = struct.pack("<i20sQ", 2, bytes(20), 0x77)
    assert symbols(build_ids=True).frames(valid + address + bytes(32)) == [
        f"{'ab' * 20}+0x40",
        "0x77",
    ]
