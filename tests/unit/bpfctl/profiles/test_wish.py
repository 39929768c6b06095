# SPDX-License-Identifier: Apache-2.0
"""What can be asked for, and what that is in a package's words."""

from __future__ import annotations

from typing import Any

import pytest
from bpfctl.errors import InvalidArgument, NotSupported
from bpfctl.package import load_package
from bpfctl.profiles.wish import Wish


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"frequency": 0}, "frequency"),
        ({"frequency": 1_000_001}, "frequency"),
        ({"kernel": False, "user": False}, "stacks"),
        ({"follow": True}, "follow"),
        ({"off_cpu": True, "min_ns": 5, "max_ns": 4}, "max"),
        ({"comm": "a name of 16 ch."}, "comm"),
        ({"pids": tuple(range(1, 8194))}, "pid"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        Wish(**wrong)
    assert raised.value.field == field


@pytest.mark.parametrize("off_cpu", [False, True])
def test_constants_are_settings_of_the_package(off_cpu: bool) -> None:
    wish = Wish(off_cpu=off_cpu)
    known = {item.constant for item in load_package(wish.package).settings}
    assert wish.constants().keys() <= known


def test_filters_become_constants() -> None:
    wish = Wish(pids=(7,), per="thread", user=False, comm="curl", idle=True)
    assert wish.constants(cgroup_id=99, cgroup_level=2) == {
        "per_thread": True,
        "without_kernel": False,
        "without_user": True,
        "by_tables": False,
        "only_pids": True,
        "cgroup": 99,
        "cgroup_level": 2,
        "comm": "curl",
        "idle": True,
    }
    assert Wish(off_cpu=True, min_ns=3).constants()["max_ns"] == 2**64 - 1


@pytest.mark.parametrize(
    ("wish", "machine", "tables"),
    [
        (Wish(), "x86_64", True),
        (Wish(), "aarch64", True),
        (Wish(), "armv7l", False),
        (Wish(unwind="tables"), "aarch64", True),
        (Wish(unwind="frame-pointers"), "aarch64", False),
        (Wish(user=False), "x86_64", False),
    ],
)
def test_tables_where_the_processor_can(wish: Wish, machine: str, tables: bool) -> None:
    assert wish.by_tables(machine) is tables


def test_tables_on_a_processor_that_cannot() -> None:
    with pytest.raises(NotSupported, match=r"riscv64.*x86_64 or aarch64; use frame-pointers"):
        Wish(unwind="tables").by_tables("riscv64")


@pytest.mark.parametrize(
    ("frequency", "cpus", "size"),
    [(99, 1, 1024), (99, 2, 2048), (10, 1, 512), (999, 64, 16384)],
)
def test_maps_of_stacks_hold_what_can_come(frequency: int, cpus: int, size: int) -> None:
    found = Wish(frequency=frequency).stacks(cpus, 1.0)
    assert found == size
    # Each sample may bring two stacks.
    assert found >= min(16384, 2 * frequency * cpus)
