# SPDX-License-Identifier: Apache-2.0
"""Errno to error, and proposals."""

from __future__ import annotations

import errno

import pytest

from bpfd import errors
from bpfd.attach.failure import near, refused
from bpfd.kernel import host
from bpfd.kernel.constants import ENOTSUPP

NET_ADMIN = 1 << host.CAPABILITIES["CAP_NET_ADMIN"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_missing_capability_is_named(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(host, "capabilities", lambda: 0)
    found = refused(OSError(number, ""), "attaching", "CAP_NET_ADMIN", {"EACCES": "hint"})
    assert found == errors.PermissionMissing("CAP_NET_ADMIN", action="attaching")


def test_refused_in_spite_of_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "capabilities", lambda: NET_ADMIN)
    found = refused(OSError(errno.EPERM, ""), "attaching", "CAP_NET_ADMIN")
    assert isinstance(found, errors.KernelError)
    assert "lockdown" in found.hint
    found = refused(OSError(errno.EACCES, ""), "attaching", "CAP_NET_ADMIN", {"EACCES": "so"})
    assert found == errors.KernelError("attaching", errno.EACCES, "so")


def test_others_carry_their_hint() -> None:
    error = OSError(errno.EINVAL, "")
    assert refused(error, "x", "CAP_BPF", {"EINVAL": "why"}).hint == "why"  # type: ignore[attr-defined]
    assert str(refused(error, "x", "CAP_BPF")) == "x: Invalid argument"
    kernels_own = refused(OSError(ENOTSUPP, ""), "x", "CAP_BPF", {"ENOTSUPP": "not here"})
    assert kernels_own.hint == "not here"  # type: ignore[attr-defined]


def test_near() -> None:
    names = ["sched_switch", "sched_wakeup", "sys_enter", "Sched_Switch2"]
    assert near("sched_swich", names)[0] == "sched_switch"
    assert near("SCHED_SWITCH", names)[0] == "sched_switch"
    assert near("enter", names) == ["sys_enter"]
    assert near("", names) == []
    assert near("nothing_like_it_at_all", names) == []


def test_near_of_very_many_is_bounded() -> None:
    names = [f"function_number_{number}" for number in range(300_000)]
    assert len(near("function_nmber_77", names)) == 3
