# SPDX-License-Identifier: Apache-2.0
"""`bpfctl run` from the source to typed events, and what is left of it: nothing."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.kernel import cli_support
from tests.kernel.cli_support import SOURCE, Cli, getppid, needs_clang, wait_for
from tests.kernel.conftest import RunningDaemon

pytestmark = needs_clang


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


@pytest.fixture
def owned_names() -> set[str]:
    return {"on_enter", "cli_calls", "cli_versions", "cli_places"}


def assert_nothing_is_left(cli: Cli) -> None:
    assert cli.json("object", "list") == []
    assert [row for row in cli.json("link", "list") if row.get("link")] == []


def test_events_are_typed_and_counted(cli: Cli) -> None:
    with cli.running("--count", "5", "-o", "jsonl") as process:
        attached = wait_for(process, "attached on_enter to tp_btf")
        assert len(attached) == 1
        getppid(5)
        out, err = process.communicate(timeout=30)
    rows = [json.loads(line) for line in out.splitlines()]
    events = [row["event"] for row in rows if row["map"] == "cli_calls"]
    assert len(events) == 5
    assert all(set(event) == {"pid", "version", "comm"} for event in events)
    assert {event["version"] for event in events} == {1}
    assert {"map": "cli_versions", "key": 1, "value": 5} in rows
    assert "cli_calls: 5 events received, 0 lost" in err
    assert process.returncode == 0
    assert_nothing_is_left(cli)


def test_json_is_one_document(cli: Cli) -> None:
    with cli.running("--count", "3", "-o", "json") as process:
        wait_for(process, "attached on_enter")
        getppid(3)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    rows = json.loads(out)
    assert sum("event" in row for row in rows) == 3
    assert any("value" in row for row in rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(cli: Cli, number: signal.Signals) -> None:
    with cli.running() as process:
        wait_for(process, "attached on_enter")
        getppid(3)
        held = cli.json("object", "list")
        assert [row["lifetime"] for row in held] == ["session"]
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == (0 if number == signal.SIGINT else 128 + number)
    assert "Traceback" not in err
    assert_nothing_is_left(cli)
    if number == signal.SIGINT:
        assert "map cli_versions (percpu_array)" in out


def test_killed_client_leaves_nothing(cli: Cli) -> None:
    with cli.running() as process:
        wait_for(process, "attached on_enter")
        process.kill()
        process.wait()
    until = time.monotonic() + 20
    while cli.json("object", "list") and time.monotonic() < until:
        time.sleep(0.05)
    assert_nothing_is_left(cli)


def test_daemon_that_goes_away_is_said(cli: Cli, daemon: RunningDaemon) -> None:
    with cli.running() as process:
        wait_for(process, "attached on_enter")
        daemon.kill()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 5
    assert "bpfctl: error: target local" in err
    assert "Traceback" not in err


def test_duration_and_timings(cli: Cli) -> None:
    with cli.running("--duration", "100ms", "--timings", "--no-maps") as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    (line,) = [line for line in err.splitlines() if "timings:" in line]
    for step in ("start", "connect", "build", "session", "load", "attach", "total"):
        assert f"{step} " in line


def test_second_run_compiles_nothing(cli: Cli) -> None:
    for expected in ("", "(cached)"):
        with cli.running("--duration", "10ms", "--timings", "-D", "FRESH") as process:
            _, err = process.communicate(timeout=30)
        assert expected in err


def test_table_has_a_column_for_each_field(cli: Cli) -> None:
    with cli.running("--count", "2", "--no-maps") as process:
        wait_for(process, "attached")
        getppid(2)
        out, _ = process.communicate(timeout=30)
    head, *rows = out.splitlines()
    assert head.split() == ["MAP", "PID", "VERSION", "COMM"]
    assert len(rows) == 2
    assert all(row.split()[0] == "cli_calls" for row in rows)


def test_same_file_can_run_twice(cli: Cli) -> None:
    with cli.running("--no-maps") as first, cli.running("--no-maps") as second:
        for process in (first, second):
            wait_for(process, "attached on_enter")
        assert {row["name"] for row in cli.json("object", "list")} == {"cli", "cli-2"}
        for process in (first, second):
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
    assert_nothing_is_left(cli)


def test_attach_takes_the_place_of_the_section(cli: Cli) -> None:
    with cli.running("--attach", "tracepoint:sched/sched_switch") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert_nothing_is_left(cli)
    assert "bpfctl: error: " in err


STORAGE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} of_sockets SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");
SEC("socket")
int look(struct __sk_buff *skb)
{
	return 0;
}
"""


def test_maps_that_cannot_be_dumped_are_left_out(cli: Cli) -> None:
    source = cli.folder / "storage.bpf.c"
    source.write_text(STORAGE)
    attach = ("--attach", "socket_filter:lo", "--duration", "100ms")
    rows = cli.json("run", str(source), *attach)
    assert {row["map"] for row in rows} == {"totals"}
    assert_nothing_is_left(cli)


def test_program_without_its_interface_loads_nothing_for_long(cli: Cli) -> None:
    said = cli.refused(2, "run", str(SOURCE), "-D", "WITH_XDP")
    assert "which interface? Add --interface NAME" in said
    assert_nothing_is_left(cli)


def test_interface_that_is_not_there(cli: Cli) -> None:
    said = cli.refused(4, "run", str(SOURCE), "-D", "WITH_XDP", "-i", "cli-none")
    assert "'cli-none'" in said
    assert_nothing_is_left(cli)


def test_refusal_is_shown_at_the_source_line(cli: Cli) -> None:
    arguments = ("run", SOURCE.name, "-D", "REFUSED", "-i", "lo")
    said = cli.refused(3, *arguments, cwd=SOURCE.parent)
    number = SOURCE.read_text().splitlines().index("\treturn data[100];") + 1
    assert said.splitlines()[0].startswith(f"{SOURCE.name}:{number}:")
    assert "return data[100];" in said
    assert "the verifier refused reads_beyond, nothing was loaded" in said
    assert "processed" not in said
    assert "processed" in cli.refused(3, *arguments, "--verbose", cwd=SOURCE.parent)
    assert_nothing_is_left(cli)
