# SPDX-License-Identifier: Apache-2.0
"""SIGKILL for daemon or client at a random moment: what is there is whole, the rest gone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from bpfd.v1 import links_pb2, objects_pb2, programs_pb2
from tests.kernel.api import PINNED, SWITCHES, Api, eventually
from tests.kernel.clang import compiled
from tests.kernel.conftest import RunningDaemon

ROUNDS = 12
SEED = int(os.environ.get("BPFD_TEST_SEED", "0")) or random.SystemRandom().randrange(1 << 32)


def busy(api: Api, stop: threading.Event) -> None:
    """Everything that changes pins, over and over, until the daemon is gone."""
    first, second = compiled("objects"), compiled("objects", "VERSION=2")
    try:
        while not stop.is_set():
            api.load("one", first, PINNED)
            api.attach("one/count_switches", SWITCHES, name="a")
            api.attach("one/count_switches", SWITCHES, name="b")
            api.load("one", second, PINNED, replace=True)
            api.links.Detach(links_pb2.DetachRequest(name="b"))
            api.load("one", first, PINNED, replace=True)
            api.unload("one")
    except grpc.RpcError:
        return


def check_whole(api: Api) -> None:
    """Every object has its programs and maps, every link runs one of them."""
    for found in api.objects.List(objects_pb2.ListObjectsRequest()).objects:
        assert {item.name for item in found.programs} == {"count_packets", "count_switches"}
        assert {item.name for item in found.maps} == {"obj_runs", ".rodata"}
        ids = {item.id for item in found.programs}
        for link in found.links:
            assert link.program_id in ids, f"{link.name} runs a program of another version"
            assert link.point.raw_tracepoint.name == "sched_switch"
        assert found.HasField("loaded_at")


def test_the_daemon(daemon: RunningDaemon) -> None:
    chance = random.Random(SEED)
    print(f"BPFD_TEST_SEED={SEED}")
    stop = threading.Event()
    for _ in range(ROUNDS):
        with daemon.channel() as channel:
            worker = threading.Thread(target=busy, args=(Api(channel), stop))
            worker.start()
            time.sleep(chance.uniform(0.01, 0.3))
            daemon.kill()
            worker.join()
        daemon.start()
        with daemon.channel() as channel:
            api = Api(channel)
            check_whole(api)
            for name in api.object_names():
                api.unload(name)
            left = api.programs.List(programs_pb2.ListProgramsRequest()).programs
            assert not [item for item in left if item.object]
    daemon.stop()
    left_pins = [path for path in (daemon.bpffs / "bpfd").rglob("*") if not path.is_dir()]
    assert left_pins == []
    assert not list((daemon.state_dir / "objects").glob("*"))


CLIENT = """
import sys
import grpc
from bpfd.v1 import common_pb2
from tests.kernel.api import SWITCHES, Api
elf = open(sys.argv[2], "rb").read()
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    api = Api(channel)
    session, stream = api.open_session(label="short-lived")
    lifetime = common_pb2.Lifetime(session=session)
    print("ready", flush=True)
    for number in range(1000):
        api.load(f"o{number}", elf, lifetime)
        api.attach(f"o{number}/count_switches", SWITCHES)
"""


@pytest.mark.parametrize("round_", range(4))
def test_the_client(daemon: RunningDaemon, tmp_path: Path, round_: int) -> None:
    chance = random.Random(SEED + round_)
    print(f"BPFD_TEST_SEED={SEED}")
    (tmp_path / "object.o").write_bytes(compiled("objects"))
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(daemon.socket), str(tmp_path / "object.o")],
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    time.sleep(chance.uniform(0.0, 0.3))
    client.kill()
    client.wait()
    client.stdout.close()
    with daemon.channel() as channel:
        api = Api(channel)
        assert eventually(lambda: not api.object_names())
        assert not api.links.List(links_pb2.ListLinksRequest()).links
