# SPDX-License-Identifier: Apache-2.0
"""The C library's settings while bulk streams run."""

from __future__ import annotations

import pytest

from bpfd.kernel import allocator


class FakeLibrary:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.trims = 0

    def mallopt(self, what: int, value: int) -> None:
        self.calls.append((what, value))

    def malloc_trim(self, pad: object) -> None:
        self.trims += 1


def test_memory_is_kept_until_the_last_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    with allocator.bulk():
        with allocator.bulk():
            assert library.calls == [(-3, 32 << 20), (-1, 32 << 20)]
        assert library.trims == 0
    assert library.calls[2:] == [(-3, 128 << 10), (-1, 128 << 10)]
    assert library.trims == 1


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with allocator.bulk():
        assert allocator._users == 1
    assert allocator._users == 0
