# SPDX-License-Identifier: Apache-2.0
"""`bpfd purge`: whatever daemons have left is detached and removed."""

from __future__ import annotations

import shutil
import subprocess
import sys

from bpfd.v1 import attach_pb2, common_pb2, maps_pb2, objects_pb2
from tests.kernel import hooks_support
from tests.kernel.api import PINNED, Api
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import veth_pair


def purge(daemon: RunningDaemon) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "bpfd", "purge"),
            *("--state-dir", daemon.state_dir, "--bpffs", daemon.bpffs),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_everything_goes(daemon: RunningDaemon) -> None:
    """Links of the kernel, a filter without one, and a pin at a place of the user's choice."""
    with veth_pair() as pair:
        near = pair.interface()
        with daemon.channel() as channel:
            api = Api(channel)
            api.load("hooks", hooks_support.compiled(), PINNED)
            api.load("other", hooks_support.compiled(), PINNED)
            api.attach(
                "hooks/xdp_count", attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=near))
            )
            tc = attach_pb2.Tc(
                interface=near,
                direction=attach_pb2.TC_DIRECTION_EGRESS,
                method=attach_pb2.TC_METHOD_CLSACT,
            )
            api.attach("other/tc_drop", attach_pb2.AttachPoint(tc=tc))
            maps = api.objects.Get(objects_pb2.GetObjectRequest(name="hooks")).maps
            pin = daemon.bpffs / "mine"
            api.maps.Pin(
                maps_pb2.PinMapRequest(map=common_pb2.MapRef(id=maps[0].id), path=str(pin))
            )
        held = purge(daemon)
        assert held.returncode == 75
        assert f"pid {daemon.pid}" in held.stderr
        daemon.kill()
        assert pin.exists()
        assert "clsact" in pair.tc("qdisc", "show", "dev", "hk0")
        done = purge(daemon)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "removed 2 objects, 2 links, 1 pins of maps\n"
        assert "clsact" not in pair.tc("qdisc", "show", "dev", "hk0")
        assert "xdp" not in pair.ip("link", "show", "hk0")
    assert list(daemon.bpffs.iterdir()) == []
    again = purge(daemon)
    assert (again.returncode, again.stdout) == (
        0,
        "removed 0 objects, 0 links, 0 pins of maps\n",
    )


def test_what_nobody_can_read_goes_too(daemon: RunningDaemon) -> None:
    with daemon.channel() as channel:
        Api(channel).load("hooks", hooks_support.compiled(), PINNED)
    daemon.kill()
    shutil.rmtree(daemon.state_dir)
    (daemon.bpffs / "bpfd" / "v1" / "objects" / "strange" / "maps").mkdir(parents=True)
    done = purge(daemon)
    assert done.returncode == 0, done.stderr
    assert list(daemon.bpffs.iterdir()) == []
