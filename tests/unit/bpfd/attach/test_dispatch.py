# SPDX-License-Identifier: Apache-2.0
"""The table of hooks: every field of AttachPoint has a file or a clear error."""

from __future__ import annotations

import pytest

from bpfd import attach, errors
from bpfd.attach.attachment import Program
from bpfd.kernel.constants import ProgType
from bpfd.v1 import attach_pb2

FIELDS = [each.name for each in attach_pb2.AttachPoint.DESCRIPTOR.fields]
NOTHING = Program(fd=-1, id=0, name="p", type=ProgType.LIRC_MODE2)


def point(kind: str) -> attach_pb2.AttachPoint:
    found = attach_pb2.AttachPoint()
    getattr(found, kind).SetInParent()
    return found


@pytest.mark.parametrize("kind", FIELDS)
def test_every_field_is_answered_before_anything_is_touched(kind: str) -> None:
    for call in (attach.attach, attach.plan):
        with pytest.raises(errors.InvalidArgument, match=kind):
            call(NOTHING, point(kind))


def test_the_hooks() -> None:
    assert set(FIELDS) == set(attach.kinds())


def test_no_point() -> None:
    with pytest.raises(errors.InvalidArgument, match="nothing to attach to"):
        attach.attach(NOTHING, attach_pb2.AttachPoint())


def test_hooks_with_links_need_no_plan() -> None:
    program = Program(fd=-1, id=0, name="p", type=ProgType.XDP)
    assert attach.plan(program, point("xdp")) is None


def test_an_unknown_journal() -> None:
    for data in ({}, {"kind": "clsact"}, {"kind": "other"}):
        with pytest.raises(ValueError, match="not the journal"):
            attach.journal_from_json(data)


def test_a_journal_of_a_route() -> None:
    words = {
        "netns_path": "/run/netns/x",
        "netns_inode": 7,
        "ifindex": 2,
        "interface": "eth0",
        "prefix": "10.0.0.0/8",
        "way": 3,
        "headroom": 0,
        "name": "bpfd-1",
        "before": "00ff",
        "program_ids": [4, 5],
    }
    journal = attach.journal_from_json({"kind": "lwt", **words})
    assert journal.to_json() == {"kind": "lwt", **words}
    assert journal.point().lwt.prefix == "10.0.0.0/8"
    for wrong in ({"way": -1}, {"before": "xy"}, {"prefix": "z"}, {"program_ids": 4}):
        with pytest.raises(ValueError):  # noqa: PT011
            attach.journal_from_json({"kind": "lwt", **words, **wrong})
