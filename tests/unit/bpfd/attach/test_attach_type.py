# SPDX-License-Identifier: Apache-2.0
"""What is asked for and what a program was loaded for."""

from __future__ import annotations

import pytest

from bpfd import errors
from bpfd.attach.attach_type import chosen
from bpfd.attach.attachment import Program
from bpfd.attach.cgroup_sock import TYPES
from bpfd.kernel.constants import AttachType, ProgType
from bpfd.v1 import attach_pb2

CREATE = attach_pb2.CGROUP_SOCK_HOOK_CREATE
RELEASE = attach_pb2.CGROUP_SOCK_HOOK_RELEASE


def choose(loaded: int, wanted: int) -> int:
    program = Program(-1, 1, "p", ProgType.CGROUP_SOCK, loaded)
    return chosen(program, wanted, TYPES, attach_pb2.CgroupSockHook.Name, "field")


@pytest.mark.parametrize(
    ("loaded", "wanted"),
    [
        (AttachType.CGROUP_INET_SOCK_RELEASE, RELEASE),
        (AttachType.CGROUP_INET_SOCK_RELEASE, 0),
        (0, RELEASE),
        (AttachType.CGROUP_DEVICE, RELEASE),
    ],
)
def test_what_fits(loaded: int, wanted: int) -> None:
    assert choose(loaded, wanted) == AttachType.CGROUP_INET_SOCK_RELEASE


@pytest.mark.parametrize(
    ("loaded", "wanted", "words"),
    [
        (AttachType.CGROUP_INET_SOCK_RELEASE, CREATE, "loaded for release, not for create"),
        (0, 0, "must be one of create, release, post_bind4, post_bind6"),
        (0, 77, "77 is none of create, release"),
    ],
)
def test_what_does_not(loaded: int, wanted: int, words: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=words):
        choose(loaded, wanted)
