# SPDX-License-Identifier: Apache-2.0
"""Failed calls leave nothing of gRPC's behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import bpfctl
import grpc
import pytest
from bpfctl.errors import BpfctlError
from bpfctl.target import Target

from bpfd.v1 import maps_pb2, objects_pb2
from tests.unit.bpfctl.fake_daemon import FakeDaemon


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    address = f"unix:{tmp_path}/s"
    with FakeDaemon(address), bpfctl.connect(address) as found:
        yield found


@pytest.mark.parametrize("stream", [True, False])
def test_a_failed_call_is_freed_at_once(target: Target, stream: bool) -> None:
    """Freed at the end of Python, by the garbage collector, it may wait for ever for a lock
    that one of gRPC's threads held when it was stopped."""
    rpc = target.rpc

    def call() -> object:
        if stream:
            return next(rpc.stream(rpc.maps.Dump, maps_pb2.DumpRequest(), "Maps.Dump"))
        return rpc.call(rpc.objects.Get, objects_pb2.GetObjectRequest(), "Objects.Get")

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        with pytest.raises(BpfctlError):
            call()
        gc.collect()
        assert [item for item in gc.garbage if isinstance(item, grpc.Call)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
