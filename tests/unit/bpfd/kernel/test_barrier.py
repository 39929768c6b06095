# SPDX-License-Identifier: Apache-2.0
"""Which fence a machine gets."""

from __future__ import annotations

import pytest

from bpfd.errors import NotSupported
from bpfd.kernel import barrier


@pytest.fixture(autouse=True)
def _fresh() -> None:
    barrier.fences.cache_clear()


@pytest.mark.parametrize("machine", ["x86_64", "i686", "s390x"])
def test_strong_machines_need_no_instruction(machine: str) -> None:
    assert barrier.fences(machine) == (barrier._nothing, barrier._nothing)


def test_weak_machine_calls_libatomic(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(barrier, "_libatomic", lambda: called.append)
    acquire, release = barrier.fences("aarch64")
    acquire()
    release()
    assert called == [2, 3]


def test_libatomic_of_this_machine_has_the_fence() -> None:
    fence = barrier._libatomic()
    if fence is None:
        pytest.skip("libatomic.so.1 is not installed")
    assert fence(2) is None


def test_membarrier_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barrier, "_libatomic", lambda: None)
    called: list[str] = []
    monkeypatch.setattr(barrier, "_membarrier", lambda machine: lambda: called.append(machine))
    acquire, release = barrier.fences("aarch64")
    acquire()
    release()
    assert called == ["aarch64", "aarch64"]


def test_no_fence_is_an_error_not_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barrier, "_libatomic", lambda: None)
    monkeypatch.setattr(barrier, "_membarrier", lambda machine: None)
    with pytest.raises(NotSupported, match="libatomic"):
        barrier.fences("aarch64")
