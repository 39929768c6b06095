# SPDX-License-Identifier: Apache-2.0
"""Functions of JIT compilers."""

from __future__ import annotations

from typing import cast

from bpfctl.files import Files
from bpfctl.symbols import perf_map
from bpfctl.symbols.perf_map import PerfMap

from .target_double import FilesDouble


def name_at(found: PerfMap, address: int) -> str:
    function = found.find(address)
    return function.name if function is not None else ""


def test_functions_by_address() -> None:
    found = PerfMap(
        b"1000 20 LazyCompile:~main /app/x.js:1\n0x2000 10 second\nbad\n\n3000 zz q\n"
    )
    assert len(found) == 2
    assert name_at(found, 0x1000) == "LazyCompile:~main /app/x.js:1"
    assert name_at(found, 0x101F) == name_at(found, 0x1000)
    assert name_at(found, 0x1020) == ""
    assert name_at(found, 0x2008) == "second"
    assert name_at(found, 0xFFF) == ""


def test_code_that_took_the_place_of_other() -> None:
    found = PerfMap(b"1000 100 old\n1000 80 new\n1040 20 newest\n1080 10 within\n")
    assert name_at(found, 0x1000) == "new"
    assert name_at(found, 0x1040) == "newest"
    assert name_at(found, 0x1064) == "new"
    assert name_at(found, 0x1090) == ""
    found = PerfMap(b"1040 20 small\n1000 100 wide\n")
    assert name_at(found, 0x1048) == "wide"


def test_the_pid_is_that_of_the_processs_own_namespace() -> None:
    files = FilesDouble(
        texts={
            "/proc/70/status": b"Name:\tnode\nNSpid:\t70\t1\n",
            "/proc/70/root/tmp/perf-1.map": b"1000 20 f\n",
        }
    )
    found = perf_map.fetch(cast("Files", files), 70)
    assert found is not None
    assert name_at(found, 0x1001) == "f"
    assert perf_map.fetch(cast("Files", files), 71) is None
