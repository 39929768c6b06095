# SPDX-License-Identifier: Apache-2.0
"""Memory that is left, in the kernel's words."""

from __future__ import annotations

from pathlib import Path

from bpfd.kernel import free_memory

MEMINFO = """MemTotal:        1000000 kB
MemFree:          100000 kB
MemAvailable:     400000 kB
HugePages_Total:       0
"""


def test_available_memory_counts_what_can_be_dropped() -> None:
    assert free_memory.of_machine(MEMINFO) == (1000000 << 10, 400000 << 10)
    older = MEMINFO.replace("MemAvailable", "Other")
    assert free_memory.of_machine(older)[1] == 100000 << 10


def test_some_stays_free() -> None:
    assert free_memory.kept_back(32 << 20) == 4 << 20
    assert free_memory.kept_back(32 << 30) == 1 << 30


def test_group_leaves_its_limit_less_what_is_used_but_not_dropped(tmp_path: Path) -> None:
    names = ("memory.max", "memory.current", "file")
    assert free_memory._left(str(tmp_path), *names) == free_memory._NO_LIMIT
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\nfile 200\n")
    assert free_memory._left(str(tmp_path), *names) == free_memory._NO_LIMIT
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_memory._left(str(tmp_path), *names) == 500


def test_this_machine_has_some() -> None:
    assert free_memory.free() >= 0
