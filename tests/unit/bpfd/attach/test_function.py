# SPDX-License-Identifier: Apache-2.0
"""Which of several functions of a name is meant."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from bpfd import errors
from bpfd.attach.function import resolve
from bpfd.kernel.symbols import ElfFile, Function

LOCAL, GLOBAL, WEAK = 0, 1, 2
ONE = Function(
    name="f",
    version="",
    default=True,
    binding=GLOBAL,
    indirect=False,
    defined=True,
    address=0x1000,
    size=32,
    file_offset=0x500,
)


class Fake:
    """What `resolve` asks of a file."""

    def __init__(self, *functions: Function) -> None:
        self._functions = list(functions)

    def functions(self, name: str) -> list[Function]:
        return self._functions

    def function_names(self) -> list[str]:
        return ["first", "f_avx2"]


def found(*functions: Function, name: str = "f", offset: int = 0, ret: bool = False) -> int:
    return resolve(cast(ElfFile, Fake(*functions)), "/x", name, offset, ret)


def test_start_and_offset() -> None:
    assert found(ONE) == 0x500
    assert found(ONE, offset=31) == 0x51F
    with pytest.raises(errors.InvalidArgument, match="only 32 bytes"):
        found(ONE, offset=32)
    assert found(replace(ONE, size=0), offset=4000) == 0x500 + 4000


def test_global_before_weak_before_local() -> None:
    local = replace(ONE, binding=LOCAL, file_offset=0x600)
    weak = replace(ONE, binding=WEAK, file_offset=0x700)
    assert found(local, weak, ONE) == 0x500
    assert found(local, weak) == 0x700


def test_the_default_version() -> None:
    old = replace(ONE, version="V1", default=False, file_offset=0x600)
    assert found(old, replace(ONE, version="V2")) == 0x500
    assert found(old) == 0x600


def test_several_of_the_same_name_are_listed() -> None:
    second = replace(ONE, binding=LOCAL, file_offset=0x600)
    with pytest.raises(errors.InvalidArgument, match="give file_offset: 0x500, 0x600"):
        found(replace(ONE, binding=LOCAL), second)
    assert found(ONE, replace(ONE, name="f")) == 0x500


def test_imported_missing_and_chosen_at_run_time() -> None:
    with pytest.raises(errors.NotFound, match="only imports it"):
        found(replace(ONE, defined=False))
    with pytest.raises(errors.NotFound, match="did you mean first"):
        found(name="firs")
    with pytest.raises(errors.InvalidArgument, match="f_avx2"):
        found(replace(ONE, indirect=True))
    with pytest.raises(errors.InvalidArgument, match="no code"):
        found(replace(ONE, file_offset=-1))
    with pytest.raises(errors.InvalidArgument, match="function's start"):
        found(ONE, offset=1, ret=True)
    with pytest.raises(errors.InvalidArgument, match="empty"):
        found(ONE, name="")
