# SPDX-License-Identifier: Apache-2.0
"""An order in the kernel's words."""

from __future__ import annotations

import errno

import pytest

from bpfd import errors
from bpfd.attach.order import Words, anchor_missing, words
from bpfd.v1 import attach_pb2

BEFORE, AFTER, ID, LINK = 1 << 3, 1 << 4, 1 << 5, 1 << 13


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (attach_pb2.Order(), Words(0, (0, 0))),
        (attach_pb2.Order(before_program_id=4), Words(BEFORE | ID, (4, 0))),
        (attach_pb2.Order(after_program_id=4), Words(AFTER | ID, (4, 0))),
        (attach_pb2.Order(before_link_id=4), Words(BEFORE | ID | LINK, (4, 0))),
        (
            attach_pb2.Order(after_link_id=4, expected_revision=9),
            Words(AFTER | ID | LINK, (4, 9)),
        ),
        (attach_pb2.Order(first=True), Words(BEFORE, (0, 0))),
        (attach_pb2.Order(expected_revision=9), Words(0, (0, 9))),
    ],
)
def test_words(order: attach_pb2.Order, expected: Words) -> None:
    assert words(order) == expected
    assert bool(words(order)) == (order != attach_pb2.Order())


def test_id_zero() -> None:
    with pytest.raises(errors.InvalidArgument, match="before_link_id"):
        words(attach_pb2.Order(before_link_id=0))


def test_anchor_missing_only_for_its_errnos() -> None:
    order = attach_pb2.Order(after_link_id=4)
    found = anchor_missing(order, "tcx", OSError(errno.ENOENT, ""))
    assert found == errors.NotFound("link", "4", hint="it is not attached to tcx")
    assert anchor_missing(order, "tcx", OSError(errno.ENOMEM, "")) is None
    first = attach_pb2.Order(first=True)
    assert anchor_missing(first, "tcx", OSError(errno.ENOENT, "")) is None
