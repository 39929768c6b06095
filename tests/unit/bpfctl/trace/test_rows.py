# SPDX-License-Identifier: Apache-2.0
"""Stacks of events."""

from __future__ import annotations

from bpfctl.trace.rows import with_caller


def test_the_caller_of_a_user_function_is_there_once() -> None:
    assert with_caller([1, 3], 2) == [1, 2, 3]
    assert with_caller([1, 2, 3], 2) == [1, 2, 3]
    assert with_caller([1], 2) == [1, 2]
    assert with_caller([], 2) == []
    assert with_caller([1, 3], 0) == [1, 3]
