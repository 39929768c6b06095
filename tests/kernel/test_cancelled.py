# SPDX-License-Identifier: Apache-2.0
"""Calls that are given up at random moments leave nothing, and take nothing with them."""

from __future__ import annotations

import contextlib
import os
import random
from concurrent.futures import ThreadPoolExecutor

import grpc

from bpfd.v1 import maps_pb2, objects_pb2
from tests.kernel.api import PINNED, SWITCHES, Api, eventually, map_ref
from tests.kernel.clang import compiled
from tests.kernel.conftest import RunningDaemon


def bpf_files(daemon: RunningDaemon) -> int:
    """Programs, maps and links that the daemon has open."""
    found = 0
    for name in os.listdir(f"/proc/{daemon.pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{daemon.pid}/fd/{name}")
            found += target.startswith("anon_inode:bpf")
    return found


def test_given_up_dumps_let_their_map_go(daemon: RunningDaemon, channel: grpc.Channel) -> None:
    api = Api(channel)
    api.load("one", compiled("objects"), PINNED)
    held = bpf_files(daemon)
    request = maps_pb2.DumpRequest(map=map_ref("one/obj_runs"))

    def dump(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            with contextlib.suppress(grpc.RpcError):
                list(api.maps.Dump(request, timeout=chance.random() * 0.015))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(dump, range(4)))
    assert eventually(lambda: bpf_files(daemon) == held)
    api.unload("one")
    assert eventually(lambda: bpf_files(daemon) == 0)


def test_a_given_up_replacement_takes_nothing_away(channel: grpc.Channel) -> None:
    """Whichever version it ends with: the object and its link were there before."""
    api = Api(channel)
    versions = [compiled("objects"), compiled("objects", "VERSION=2")]
    api.load("one", versions[0], PINNED)
    api.attach("one/count_switches", SWITCHES)
    chance = random.Random(1)
    for turn in range(80):
        request = objects_pb2.LoadRequest(
            name="one", lifetime=PINNED, replace=True, elf=versions[turn % 2]
        )
        with contextlib.suppress(grpc.RpcError):
            api.objects.Load(request, timeout=0.002 + chance.random() * 0.02)
        assert api.object_names() == ["one"]
    found = api.objects.Get(objects_pb2.GetObjectRequest(name="one"))
    (link,) = found.links
    assert link.program_id in {item.id for item in found.programs}
    assert api.unload("one") == ["one/count_switches"]
