# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.attachpoint import sections as attach_sections
from bpfctl.preflight import hooks, sections

from bpfd import features
from bpfd.kernel import sections as newer
from bpfd.kernel.constants import ProgType


@pytest.mark.parametrize("name", attach_sections.names())
def test_every_section_that_can_be_attached_has_a_meaning(name: str) -> None:
    assert sections.meaning(name) is not None
    assert sections.meaning(f"?{name}") == sections.meaning(name)
    assert list(hooks.needs(name))


@pytest.mark.parametrize("name", list(newer._SECTIONS))
def test_daemon_and_workstation_agree(name: str) -> None:
    known, found = newer.meaning(name), sections.meaning(name)
    assert known is not None
    assert found is not None
    assert (found.type, found.attach_type) == (known.type, known.attach_type)
    assert found.flags == known.flags


def test_what_follows_the_name() -> None:
    assert sections.split("?kprobe/vfs_read") == ("kprobe", "vfs_read")
    assert sections.split("xdp.frags/devmap") == ("xdp.frags/devmap", "")
    assert sections.split("nonsense") == ("", "")
    assert sections.meaning("nonsense/x") is None
    found = sections.meaning("tp/sched/sched_switch")
    assert found is not None
    assert found.type == ProgType.TRACEPOINT


def test_features_that_are_asked_for_exist() -> None:
    for name in attach_sections.names():
        for need in hooks.needs(f"{name}/some_name"):
            if need.ask is not None and need.ask[0] == "feature":
                assert need.ask[1] in features.PROBES, name
