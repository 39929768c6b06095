# SPDX-License-Identifier: Apache-2.0
"""The tables name what the daemon probes, and nothing that it does not."""

from __future__ import annotations

import fnmatch

import pytest
from bpfctl.doctor import options
from bpfctl.doctor.features import GROUPS, group_of

from bpfd.features import PROBES


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in options._OPTIONS])
def test_every_pattern_is_of_a_probe(pattern: str) -> None:
    assert fnmatch.filter(PROBES, pattern)


@pytest.mark.parametrize(("pattern", "other"), [entry[:2] for entry in options._INSTEAD])
def test_what_does_the_work_is_probed_too(pattern: str, other: str) -> None:
    assert fnmatch.filter(PROBES, pattern)
    assert not other or other in PROBES


def test_every_probe_has_an_option_and_a_group() -> None:
    for name, probe in PROBES.items():
        found = options.options_of(name, probe.needs)
        assert found
        assert all(option.startswith("CONFIG_") for option in found)
        assert group_of(name) in GROUPS
    assert {group_of(name) for name in PROBES} == set(GROUPS)


def test_options_that_the_daemon_names_are_among_them() -> None:
    found = options.options_of("fentry", "CONFIG_OTHER and more")
    assert "CONFIG_FUNCTION_TRACER" in found
    assert found[-1] == "CONFIG_OTHER"
    assert options.options_of("of tomorrow", "CONFIG_A or CONFIG_B") == ("CONFIG_A", "CONFIG_B")
    assert options.options_of("of tomorrow") == ("CONFIG_BPF_SYSCALL",)
