# SPDX-License-Identifier: Apache-2.0
"""Settings of a load that hide each other."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from bpfd.errors import InvalidArgument
from bpfd.objects import load_request
from bpfd.objects.registry import Registry
from bpfd.v1 import objects_pb2

PROGRAM, OTHER = (objects_pb2.ProgramSetting(name=name) for name in "pq")
MAP = objects_pb2.MapSetting(name="p")


@pytest.mark.parametrize(
    "message",
    [
        objects_pb2.LoadOptions(programs=[PROGRAM, OTHER, PROGRAM]),
        objects_pb2.LoadOptions(maps=[MAP, MAP]),
    ],
)
def test_two_settings_of_one(message: objects_pb2.LoadOptions) -> None:
    with ExitStack() as stack, pytest.raises(InvalidArgument, match="p has 2 settings"):
        load_request.options(message, Registry(), stack, pin_root="/sys/fs/bpf")
