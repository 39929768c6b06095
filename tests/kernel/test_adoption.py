# SPDX-License-Identifier: Apache-2.0
"""A daemon that starts on what a killed one left, and on what others did to it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bpfd.kernel import syscall
from bpfd.v1 import attach_pb2, links_pb2, objects_pb2
from tests.kernel import hooks_support
from tests.kernel.api import PINNED, SWITCHES, Api, program
from tests.kernel.clang import compiled
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import own_cgroup, veth_pair

SAMPLES = attach_pb2.AttachPoint(
    perf_event=attach_pb2.PerfEvent(type=1, config=0, frequency=10)
)

_WRONG = (
    b'{"session": true, "undo": {"kind": "clsact", "netns_path": "", "netns_inode": 2, '
    b'"ifindex": "x", "interface": "eth", "direction": 1, "handle": 1, "priority": 9, '
    b'"program_ids": [], "made_qdisc": false}}'
)


def pins(daemon: RunningDaemon, name: str) -> Path:
    """Folder of an object's pins."""
    return daemon.bpffs / "bpfd" / "v1" / "objects" / name


@pytest.mark.parametrize("notes", ["kept", "lost", "corrupt"])
def test_every_hook_after_a_kill(daemon: RunningDaemon, notes: str) -> None:
    """Names, points, exchange, replacement and unloading work as before."""
    with veth_pair() as pair, own_cgroup() as cgroup:
        near = pair.interface()
        points = {
            "xdp_count": attach_pb2.AttachPoint(xdp=attach_pb2.Xdp(interface=near)),
            "tc_count": attach_pb2.AttachPoint(
                tc=attach_pb2.Tc(interface=near, direction=attach_pb2.TC_DIRECTION_INGRESS)
            ),
            "tc_drop": attach_pb2.AttachPoint(
                tc=attach_pb2.Tc(
                    interface=near,
                    direction=attach_pb2.TC_DIRECTION_EGRESS,
                    method=attach_pb2.TC_METHOD_CLSACT,
                )
            ),
            "cgroup_count": attach_pb2.AttachPoint(
                cgroup_skb=attach_pb2.CgroupSkb(
                    direction=attach_pb2.CGROUP_SKB_DIRECTION_EGRESS
                )
            ),
            "raw_tracepoint": attach_pb2.AttachPoint(
                raw_tracepoint=attach_pb2.RawTracepoint(name="sys_enter")
            ),
            "sample": SAMPLES,
        }
        points["cgroup_count"].cgroup_skb.cgroup.path = cgroup
        with daemon.channel() as channel:
            api = Api(channel)
            api.load("hooks", hooks_support.compiled(), PINNED)
            before = {
                each: api.attach(f"hooks/{each}", point, name=f"n-{each}")
                for each, point in points.items()
            }
        daemon.kill()
        if notes == "lost":
            shutil.rmtree(daemon.state_dir / "objects")
        if notes == "corrupt":
            (daemon.state_dir / "objects" / "hooks.pb").write_bytes(b"\xff\x00garbage")
        daemon.start()
        with daemon.channel() as channel:
            api = Api(channel)
            found = {each.name: each for each in links(api)}
            assert sorted(found) == sorted(each.name for each in before.values())
            for each, link in before.items():
                now = found[link.name]
                assert (now.program, now.program_id) == (each, link.program_id)
                assert now.link_ids == link.link_ids
                assert now.point.WhichOneof("point") == link.point.WhichOneof("point")
            tc = found["n-tc_drop"]
            assert tc.method == "clsact"
            api.links.Update(
                links_pb2.UpdateLinkRequest(name=tc.name, program=program("hooks/tc_count"))
            )
            if notes == "kept":
                api.load("hooks", hooks_support.compiled(), PINNED, replace=True)
            assert len(api.unload("hooks")) == len(points)
        assert "bpf" not in pair.tc("filter", "show", "dev", "hk0", "egress")


def links(api: Api) -> list[objects_pb2.Link]:
    return list(api.links.List(links_pb2.ListLinksRequest()).links)


def test_a_daemon_killed_while_links_of_each_cpu_were_exchanged(daemon: RunningDaemon) -> None:
    """Some pins are of the new links, others of the old ones, one is not in place yet."""
    with daemon.channel() as channel:
        api = Api(channel)
        for name in ("one", "two"):
            api.load(name, hooks_support.compiled(), PINNED)
            api.attach(f"{name}/sample", SAMPLES, name=f"link-{name}")
    daemon.kill()
    ours, theirs = (pins(daemon, name) / "links" / f"link-{name}" for name in ("one", "two"))
    if len(list(ours.iterdir())) < 2:
        pytest.skip("one CPU")
    (ours / "0").unlink()
    fd = syscall.obj_get(str(theirs / "0"))
    syscall.obj_pin(fd, str(ours / "0"))
    syscall.obj_pin(fd, str(ours / "1=new"))
    os.close(fd)
    daemon.start()
    assert sorted(each.name for each in ours.iterdir()) == ["0", "1"]
    with daemon.channel() as channel:
        api = Api(channel)
        assert sorted(api.object_names()) == ["one", "two"]
        assert sorted(each.name for each in links(api)) == ["link-one", "link-two"]
        other = links_pb2.UpdateLinkRequest(
            name="link-one", program=program("one/sample_other")
        )
        now = api.links.Update(other).link
        assert len(now.link_ids) == len(os.listdir(ours))
        for name in ("one", "two"):
            api.unload(name)


def test_foreign_things_among_the_pins(daemon: RunningDaemon) -> None:
    """The daemon starts, and has everything that is sound."""
    with daemon.channel() as channel:
        api = Api(channel)
        api.load("one", compiled("objects"), PINNED)
        api.attach("one/count_switches", SWITCHES)
    daemon.kill()
    folder = pins(daemon, "one")
    fd = syscall.obj_get(str(folder / "programs" / "count_switches"))
    for place in ("maps/foreign", "links/foreign", "foreign"):
        syscall.obj_pin(fd, str(folder / place))
    syscall.obj_pin(fd, str(folder.parent / "file"))
    os.close(fd)
    fd = syscall.obj_get(str(folder / "maps" / "obj_runs"))
    syscall.obj_pin(fd, str(folder / "programs" / "foreign"))
    syscall.obj_pin(fd, str(folder / "links" / "other"))
    os.close(fd)
    (folder / "programs" / "folder").mkdir()
    (folder.parent / "empty").mkdir()
    (daemon.state_dir / "objects" / "one.pb").unlink()
    (daemon.state_dir / "objects" / "one.pb").mkdir()
    daemon.start()
    with daemon.channel() as channel:
        api = Api(channel)
        found = api.objects.Get(objects_pb2.GetObjectRequest(name="one"))
        assert {each.name for each in found.programs} == {"count_packets", "count_switches"}
        assert {each.name for each in found.maps} == {"obj_runs", ".rodata"}
        assert [each.name for each in found.links] == ["one/count_switches"]
        assert api.unload("one") == ["one/count_switches"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"session": true, "undo": []}',
        b'{"session": true, "undo": {"kind": "clsact"}}',
        _WRONG,
    ],
)
def test_a_damaged_journal(daemon: RunningDaemon, text: bytes) -> None:
    daemon.stop()
    inode = str(os.stat("/proc/self/ns/net").st_ino).encode()
    folder = daemon.state_dir / "journal"
    folder.mkdir()
    (folder / "x.json").write_bytes(
        text.replace(b'"netns_inode": 2', b'"netns_inode": ' + inode)
    )
    daemon.start()
    assert "nothing can be read of what link x was to undo" in daemon.log()
