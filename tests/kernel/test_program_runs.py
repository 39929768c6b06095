# SPDX-License-Identifier: Apache-2.0
"""Programs that run on request: a syscall program, and timers that one run starts."""

from __future__ import annotations

import struct
import time

import pytest

from bpfd.features import PROBES
from bpfd.v1 import maps_pb2, programs_pb2
from tests.kernel.api import PINNED, Api, eventually, map_ref, program, refused
from tests.kernel.clang import clang, compiled
from tests.kernel.conftest import RunningDaemon

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")


def run(api: Api, where: str, **fields: object) -> programs_pb2.TestRunResponse:
    request = programs_pb2.TestRunRequest(program=program(where), **fields)  # type: ignore[arg-type]
    answer: programs_pb2.TestRunResponse = api.programs.TestRun(request)
    return answer


def alarm(api: Api, owner: str) -> tuple[int, int]:
    """(times left, times rung)."""
    request = maps_pb2.LookupRequest(map=map_ref(f"{owner}/alarms"), keys=bytes(4))
    # struct bpf_timer, then interval, left, rung
    left, rung = struct.unpack_from("=QQ", api.maps.Lookup(request).values, 24)
    return left, rung


def test_a_syscall_program_gives_its_context_back(daemon: RunningDaemon) -> None:
    try:
        PROBES["program syscall"].run()
    except OSError as error:
        pytest.skip(f"this kernel has no syscall programs: {error.strerror}")
    with daemon.channel() as channel, daemon.channel(viewer=True) as viewing:
        api = Api(channel)
        with api.session() as lifetime:
            api.load("runs", compiled("runs", "SYSCALL"), lifetime)
            given = struct.pack("=QQQ", 40, 2, 0)
            answer = run(api, "runs/add", context=given)
            assert struct.unpack("=QQQ", answer.context) == (40, 2, 42)
            assert answer.return_value == 0
            assert struct.unpack("=QQQ", given) == (40, 2, 0)
            answer = run(api, "runs/add", context=struct.pack("=QQQ", 99, 2, 0))
            assert answer.return_value == 1
            with refused("kernel_error"):
                run(api, "runs/add", context=bytes(8))
            with refused("permission_missing"):
                run(Api(viewing), "runs/add", context=given)


def test_a_timer_rings_by_itself_and_ends_with_its_object(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel:
        api = Api(channel)
        api.load("runs", compiled("runs", "TIMER"), PINNED)
        packet = struct.pack("=QQ", 1_000_000, 4).ljust(64, b"\0")
        assert run(api, "runs/start", data=packet).return_value == 0
        assert eventually(lambda: alarm(api, "runs") == (0, 5))
        forever = struct.pack("=QQ", 1_000_000, 1 << 40).ljust(64, b"\0")
        assert run(api, "runs/start", data=forever).return_value == 0
        assert eventually(lambda: alarm(api, "runs")[1] > 8)
        api.unload("runs")
        api.load("runs", compiled("runs", "TIMER"), PINNED)
        time.sleep(0.02)
        assert alarm(api, "runs") == (0, 0)
        api.unload("runs")
