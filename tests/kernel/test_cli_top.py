# SPDX-License-Identifier: Apache-2.0
"""`bpfctl top`: exact counts, at a terminal and for scripts, and nothing that stays on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bpfd.v1 import programs_pb2
from tests.kernel import cli_support
from tests.kernel.api import Api, eventually, program
from tests.kernel.clang import compiled
from tests.kernel.cli_support import Cli, needs_clang
from tests.kernel.command_line import CommandLine, bpf_fds
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import veth_pair
from tests.kernel.terminal import at_terminal

pytestmark = needs_clang

PACKET = bytes(64)


@pytest.fixture
def api(daemon: RunningDaemon) -> Iterator[Api]:
    with daemon.channel() as channel:
        api = Api(channel)
        with api.session() as lifetime:
            api.load("topped", compiled("test_runs"), lifetime)
            yield api


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


def run(api: Api, name: str, times: int) -> None:
    request = programs_pb2.TestRunRequest(program=program(name), data=PACKET, repeat=times)
    api.programs.TestRun(request)


def lookers(daemon: RunningDaemon) -> int:
    """How often the daemon has asked the kernel for statistics."""
    return sum("bpf-stats" in name for name in bpf_fds(daemon.pid))


def rows(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)
    assert process.stderr is not None
    raise AssertionError(f"it ended: {process.stderr.read()}")


def counted(process: subprocess.Popen[str], expected: int) -> dict[str, Any]:
    """All rows of one program until so many runs are there; they may not be more."""
    runs = nanoseconds = 0
    for row in rows(process):
        runs += row["runs"]
        nanoseconds += row["run_time_ns"]
        assert runs <= expected
        assert row["runs_per_second"] == pytest.approx(row["runs"] / row["interval_s"], abs=0.1)
        share = row["run_time_ns"] / row["interval_s"] / 1e7
        assert row["cpu_percent"] == pytest.approx(share, rel=0.01, abs=0.001)
        if runs == expected:
            return {**row, "runs": runs, "run_time_ns": nanoseconds}
    raise AssertionError(f"{runs} runs in place of {expected}")


@contextmanager
def started(cli: Cli, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """As `Cli.started`, but without a fork: gRPC is in use in this process."""
    process = CommandLine(cli.socket, cli.folder).start(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


WATCHING = ("top", "-o", "jsonl", "--interval", "100ms", "--name", "topped/mark")


def test_runs_are_counted_exactly_by_two_at_once(
    api: Api, cli: Cli, daemon: RunningDaemon
) -> None:
    with started(cli, *WATCHING) as one, started(cli, *WATCHING) as two:
        first = next(rows(one))
        assert (first["type"], first["name"], first["object"]) == (
            "sched_cls",
            "mark",
            "topped",
        )
        next(rows(two))
        assert lookers(daemon) == 2
        run(api, "topped/mark", 1234)
        found = counted(one, 1234)
        assert found["run_time_ns"] > 0
        assert counted(two, 1234)["run_time_ns"] == found["run_time_ns"]
        one.kill()
        assert eventually(lambda: lookers(daemon) == 1)
        run(api, "topped/mark", 77)
        counted(two, 77)
        two.terminate()
        _, said = two.communicate(timeout=30)
        assert (two.returncode, said) == (128 + signal.SIGTERM, "")
    assert eventually(lambda: lookers(daemon) == 0)


def test_statistics_are_off_unless_somebody_looks(
    api: Api, cli: Cli, daemon: RunningDaemon
) -> None:
    setting = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = setting.read_text() if setting.exists() else ""
    assert lookers(daemon) == 0
    cli("top", "--once", "--interval", "100ms")
    assert eventually(lambda: lookers(daemon) == 0)
    assert (setting.read_text() if setting.exists() else "") == before


def test_programs_come_and_go(api: Api, cli: Cli) -> None:
    watching = ("top", "-o", "jsonl", "--interval", "100ms", "--name", "guest/*")
    with started(cli, *watching, "--name", "topped/mark") as process:
        seen = rows(process)
        assert next(seen)["object"] == "topped"
        with api.session() as lifetime:
            api.load("guest", compiled("test_runs"), lifetime)
            run(api, "guest/mark", 500)
            row = next(row for row in seen if row["object"] == "guest" and row["runs"])
            assert (row["name"], row["runs"]) == ("mark", 500)
        quiet = 0
        for row in seen:
            quiet = 0 if row["object"] == "guest" else quiet + 1
            if quiet > 3:
                break


def test_a_program_of_others_and_where_one_is_attached(api: Api, cli: Cli) -> None:
    number = int(cli.json("program", "show", "topped/sum")["id"])
    link = cli.json("attach", "topped/sum", "raw_tracepoint:sched_switch")
    try:
        found = cli.json("top", "--once", "--interval", "200ms", "--name", str(number))
        (row,) = found
        assert row["runs"] > 0
        assert row["attached"] == ["raw_tracepoint:sched_switch"]
        assert row["links"] == [link["name"]]
    finally:
        cli("detach", link["name"])


def test_where_others_have_attached_programs(cli: Cli, tmp_path: Path) -> None:
    """XDP by netlink and a tc filter, neither of which has a link."""
    path = tmp_path / "theirs.bpf.o"
    path.write_bytes(compiled("test_runs"))
    pins = f"/sys/fs/bpf/bpfd-test-top-{os.getpid()}"
    with veth_pair() as pair:
        subprocess.run(["bpftool", "prog", "loadall", str(path), pins], check=True)
        try:
            # Not `ip -n`, which hides the bpffs.
            inside = ("nsenter", f"--net=/run/netns/{pair.near}")
            for words in (
                f"ip link set hk0 xdpgeneric pinned {pins}/by_interface",
                "tc qdisc add dev hk0 clsact",
                f"tc filter add dev hk0 ingress bpf da object-pinned {pins}/mark",
            ):
                subprocess.run([*inside, *words.split()], check=True)
            ids = [each["id"] for each in cli.json("program", "list") if pins in str(each)]
            found = {
                row["name"]: row["attached"]
                for row in cli.json("top", "--once", "--interval", "100ms")
                if row["id"] in ids
            }
        finally:
            shutil.rmtree(pins)
    assert found["by_interface"] == [f"xdp:hk0,mode=generic,netns={pair.near}"]
    (place,) = found["mark"]
    assert place.startswith("clsact:hk0,ingress,")
    assert f"netns={pair.near}" in place
    assert found["answer"] == []


def test_a_table_has_what_ran_and_a_total(api: Api, cli: Cli) -> None:
    link = cli.json("attach", "topped/sum", "raw_tracepoint:sched_switch")
    try:
        said = cli("top", "--once", "--interval", "200ms", "--name", "topped/*")
        everything = cli("top", "--once", "--interval", "200ms", "--name", "topped/*", "--all")
        by_name = cli.json("top", "--once", "--interval", "100ms", "--sort", "name")
    finally:
        cli("detach", link["name"])
    head, row, total = said.splitlines()
    assert head.split() == [
        "ID",
        "TYPE",
        "NAME",
        "OBJECT",
        "ATTACHED",
        "RUNS/S",
        "AVERAGE",
        "CPU",
    ]
    assert "raw_tracepoint:sched_switch" in row
    assert re.search(r"\d+ ran in 0\.\d s: .* of one CPU", total)
    assert {"mark", "choose", "sum"} <= set(everything.split())
    names = [row["name"] for row in by_name]
    assert names == sorted(names)


def test_one_look_at_several_targets(api: Api, cli: Cli) -> None:
    for name in ("east", "west"):
        cli("target", "add", name, "--local", str(cli.socket))
    looking = ("-t", "east,west", "top", "--interval", "100ms", "--name", "topped/mark")
    rows = cli.json(*looking, "--once")
    assert [(row["target"], row["name"]) for row in rows] == [
        ("east", "mark"),
        ("west", "mark"),
    ]
    assert "TARGET" in cli(*looking, "--once", "--all").splitlines()[0]
    cli.refused(2, *looking)


def test_wrong_wishes(cli: Cli) -> None:
    assert "100ms to 1h" in cli.refused(2, "top", "--interval", "10ms")
    assert cli.try_("top", "--once", "--count", "3").returncode == 2
    assert cli.try_("top", "--sort", "size").returncode == 2
    assert cli.json("top", "--once", "--interval", "100ms", "--name", "no/such") == []


def test_a_viewer_may_not_switch_statistics_on(daemon: RunningDaemon, cli: Cli) -> None:
    target = f"unix:{daemon.read_only_socket}"
    assert "role tracer" in cli.refused(6, "-t", target, "top", "--once")


def test_the_list_at_a_terminal(cli: Cli, daemon: RunningDaemon, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bpfctl", "top", "--interval", "100ms"]
    environment = {**cli.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "24"}
    (tmp_path / "topped.bpf.o").write_bytes(compiled("test_runs"))
    cli("load", str(tmp_path / "topped.bpf.o"))
    cli("attach", "topped/sum", "raw_tracepoint:sched_switch")
    try:
        with at_terminal([*command, "--name", "topped/*"], environment, cli.folder) as screen:
            screen.expect("every 0.1 s")
            screen.expect("of one CPU")
            screen.expect("raw_tracepoint:sched_switch")
            screen.expect("of one CPU")
            os.kill(screen.pid, signal.SIGINT)
            assert screen.end() == 0
            assert "Traceback" not in screen.shown
    finally:
        cli("unload", "topped")
    assert eventually(lambda: lookers(daemon) == 0)
