# SPDX-License-Identifier: Apache-2.0
"""`bpfctl doctor` beside what this kernel says of itself."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from bpfctl.doctor.facts import Facts
from bpfctl.doctor.gather import gather
from bpfctl.target import Target

from bpfd.v1 import files_pb2, files_pb2_grpc
from tests.kernel import cli_support
from tests.kernel.cli_support import Cli
from tests.kernel.conftest import RunningDaemon


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


def checks(cli: Cli, *arguments: str) -> dict[tuple[str, str], Any]:
    rows = cli.json("doctor", *arguments)
    return {(row["group"], row["check"]): row for row in rows}


def test_it_agrees_with_the_kernel(cli: Cli, daemon: RunningDaemon) -> None:
    found = checks(cli)
    for row in found.values():
        assert row["status"] in ("ok", "warning", "missing")
        assert row["reason"]
        assert row["remedy"] or row["status"] == "ok", row
    assert os.uname().release in found["kernel", "release"]["reason"]
    assert f"process {daemon.pid}," in found["daemon", "answers"]["reason"]
    assert found["daemon", "role"]["status"] == "ok"
    paranoid = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
    assert found["sysctl", "perf_event_paranoid"]["reason"].startswith(f"{paranoid}:")
    limit = Path("/proc/sys/net/core/bpf_jit_limit").read_text().strip()
    assert found["JIT", "limit"]["reason"].startswith(limit)
    mounted = {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    for kind in ("bpf", "tracefs", "debugfs", "cgroup2"):
        assert (found["mounts", kind]["status"] == "ok") == (kind in mounted)
    room = os.statvfs(daemon.state_dir)
    assert str(daemon.state_dir) in found["resources", "state folder"]["reason"]
    assert (found["resources", "state folder"]["status"] == "ok") == (
        room.f_bavail * room.f_frsize >= 64 << 20
    )


def test_features_are_those_of_target_info(cli: Cli) -> None:
    found = checks(cli)
    for feature in cli.json("target", "info")["features"]:
        kind, _, name = feature["feature"].partition(" ")
        if (group := {"program": "program types", "map": "map types"}.get(kind)) is None:
            continue
        if name.startswith("batch "):
            group, name = "map batches", name.removeprefix("batch ")
        row = found[group, name]
        assert (row["status"] == "ok") == feature["supported"]


@pytest.mark.skipif(not Path("/proc/config.gz").exists(), reason="no /proc/config.gz")
def test_options_are_looked_up_in_the_configuration(cli: Cli, daemon: RunningDaemon) -> None:
    config = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    with Target.connect(f"unix:{daemon.socket}") as target:
        facts = gather(target)
    assert facts.config == config
    assert Facts.from_json(json.loads(json.dumps(facts.as_json()))) == facts
    for row in checks(cli).values():
        if "(not set here)" in row["remedy"]:
            for word in row["remedy"].replace(",", " ").split():
                if word.startswith("CONFIG_"):
                    assert f"\n{word}" not in config
    assert any(option.startswith("CONFIG_BPF") for option in facts.options)


def test_a_viewer_may_ask(cli: Cli, daemon: RunningDaemon) -> None:
    found = checks(cli, "-t", f"unix:{daemon.read_only_socket}")
    assert found["daemon", "role"]["status"] == "warning"
    assert "bpfd-ro.sock" in found["daemon", "role"]["remedy"]
    assert found["resources", "state folder"]["status"] in ("ok", "warning")


def test_the_table_counts_what_works(cli: Cli) -> None:
    short, full = cli("doctor"), cli("doctor", "--all")
    assert "  ok       in all: " in short
    assert "socket_filter" not in short
    assert "  ok       socket_filter: " in full
    assert len(full.splitlines()) > len(short.splitlines())


def test_a_daemon_that_is_not_there(cli: Cli, daemon: RunningDaemon, tmp_path: Path) -> None:
    cli("target", "add", "gone", "--local", str(tmp_path / "none"))
    done = cli.try_("doctor", "-t", f"gone,unix:{daemon.socket}", "-o", "json")
    assert done.returncode == 5
    rows = json.loads(done.stdout)
    gone = [row for row in rows if row["target"] == "gone"]
    assert [(row["check"], row["status"]) for row in gone] == [
        ("target", "ok"),
        ("daemon", "missing"),
    ]
    assert "the daemon is not running" in gone[1]["reason"]
    assert "bpfd serve" in gone[1]["remedy"]
    assert any(row["target"] != "gone" and row["group"] == "JIT" for row in rows)
    daemon.stop()
    done = cli.try_("doctor")
    assert done.returncode == 5
    assert "           -> " in done.stdout


def test_the_room_of_the_state_folder(
    viewer_channel: grpc.Channel, daemon: RunningDaemon
) -> None:
    answer = files_pb2_grpc.FilesStub(viewer_channel).Storage(files_pb2.StorageRequest())
    assert answer.path == str(daemon.state_dir)
    assert 0 < answer.free_bytes <= answer.total_bytes
    assert not answer.read_only


def test_interfaces_by_what_they_are(daemon: RunningDaemon) -> None:
    name = f"dr{os.getpid() % 10_000_000}"
    made = {"veth": ["type", "veth", "peer", "name", f"{name}p"], "bridge": ["type", "bridge"]}
    try:
        for kind, words in made.items():
            subprocess.run(["ip", "link", "add", f"{name}{kind[0]}", *words], check=True)
        with Target.connect(f"unix:{daemon.socket}") as target:
            found = {each.name: each.kind for each in gather(target).interfaces}
    finally:
        for kind in made:
            subprocess.run(["ip", "link", "del", f"{name}{kind[0]}"], check=False)
    assert found["lo"] == "loopback"
    assert found[f"{name}v"] == found[f"{name}p"] == "veth"
    assert found[f"{name}b"] == "bridge"
