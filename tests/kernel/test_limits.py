# SPDX-License-Identifier: Apache-2.0
"""A daemon that may open few files: clear refusals, and it recovers."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import grpc

from bpfd.v1 import objects_pb2
from tests.kernel.api import PINNED, Api
from tests.kernel.clang import compiled
from tests.kernel.conftest import MakeDaemon, RunningDaemon

SECONDS = 20.0


def test_a_daemon_raises_its_own_limit(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.prefix = ["prlimit", "--nofile=100:4000"]
    daemon.start()
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    assert (soft, hard) == (4000, 4000)


def test_too_many_files(daemon: RunningDaemon) -> None:
    elf = compiled("objects")
    with daemon.channel() as channel:
        api = Api(channel)
        assert api.object_names() == []
        held = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        limit = held + 40
        subprocess.run(["prlimit", f"--pid={daemon.pid}", f"--nofile={limit}:4000"], check=True)
        loaded, refusal = [], None
        for number in range(40):
            request = objects_pb2.LoadRequest(name=f"o{number}", lifetime=PINNED, elf=elf)
            try:
                api.objects.Load(request, timeout=SECONDS)
            except grpc.RpcError as error:
                refusal = error
                break
            loaded.append(request.name)
        assert loaded
        assert refusal is not None, "40 objects fit into 40 files"
        said = refusal.details() or ""
        assert "Too many open files" in said or "more files" in said
        assert "internal error" not in said
        subprocess.run(["prlimit", f"--pid={daemon.pid}", "--nofile=4000:4000"], check=True)
        assert sorted(api.object_names()) == sorted(loaded)
        for name in loaded:
            api.objects.Unload(objects_pb2.UnloadRequest(name=name), timeout=SECONDS)
    left = [path for path in Path(daemon.bpffs, "bpfd").rglob("*") if not path.is_dir()]
    assert left == []
