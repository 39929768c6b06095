# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.errors import NotFound, NotSupported
from bpfctl.visible import Machine, cgroups
from bpfctl.visible.tree import drawn

from bpfd.v1 import links_pb2
from tests.unit.bpfctl.visible.machines import ROOT, egress, machine, program

MACHINE = machine(
    egress(1, ROOT, attach_flags=2),
    egress(2, f"{ROOT}/a/b", link_id=9, attach_flags=2),
    egress(1, f"{ROOT}/a/b", position=2, inherited=True),
    egress(3, f"{ROOT}/ab", attach_flags=1),
    programs=[program(number, f"p{number}") for number in (1, 2, 3)],
)


def test_tree() -> None:
    assert list(drawn(cgroups.lines(MACHINE))) == [
        ROOT,
        "├─ cgroup_inet_egress 1.        1 p1, multi",
        "├─ a",
        "│  └─ b",
        "│     ├─ cgroup_inet_egress 1.        2 p2, multi, link 9",
        "│     └─ cgroup_inet_egress 2.        1 p1, from above",
        "└─ ab",
        "   └─ cgroup_inet_egress 1.        3 p3, override",
    ]


def test_below_a_path() -> None:
    assert [row["cgroup"] for row in cgroups.rows(MACHINE, "a")] == [f"{ROOT}/a/b"]
    assert [row["cgroup"] for row in cgroups.rows(MACHINE, f"{ROOT}/a/b/")] == [f"{ROOT}/a/b"]
    assert next(iter(cgroups.lines(MACHINE, "ab"))) == (0, f"{ROOT}/ab")


def test_rows_are_bpftools() -> None:
    (row,) = cgroups.rows(MACHINE, "ab")
    (first,) = row["programs"]
    wanted = {"id": 3, "attach_type": "cgroup_inet_egress", "attach_flags": "override"}
    assert wanted.items() <= first.items()
    assert list(first)[:4] == ["id", "attach_type", "attach_flags", "name"]


def test_paths_outside() -> None:
    cgroups.require(MACHINE, "")
    cgroups.require(MACHINE, f"{ROOT}/not/there")
    for path in ("/tmp", "/sys/fs/cgroups", "../x"):
        with pytest.raises(NotFound):
            cgroups.require(MACHINE, path)
    with pytest.raises(NotSupported):
        cgroups.require(Machine(links_pb2.ListAttachmentsResponse()), "")
