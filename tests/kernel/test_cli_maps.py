# SPDX-License-Identifier: Apache-2.0
"""`bpfctl map` and `bpfctl events`: typed in, typed out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import bpfctl
import pytest

from tests.kernel import cli_support
from tests.kernel.cli_support import GETPPID, SOURCE, Cli, getppid, needs_clang
from tests.kernel.conftest import RunningDaemon

pytestmark = needs_clang

PLACES = "cli/cli_places"
CPUS = os.sysconf("SC_NPROCESSORS_CONF")


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Iterator[Cli]:
    found = cli_support.make(daemon, tmp_path)
    watched = ("--set", f"watched_pid={os.getpid()}", "--set", f"watched_call={GETPPID}")
    found("load", str(SOURCE), *watched)
    yield found
    found("unload", "cli")


@pytest.fixture
def owned_names() -> set[str]:
    return {"on_enter", "cli_calls", "cli_versions", "cli_places"}


def rows(cli: Cli, name: str, *arguments: str) -> Any:
    return cli.json("map", "dump", name, *arguments)


def test_struct_keys_are_typed_by_field(cli: Cli) -> None:
    cli("map", "set", PLACES, "pid=7 port=80", "5")
    cli("map", "set", PLACES, '{"pid": 8, "port": 443}', "0x10")
    assert cli("map", "get", PLACES, "port=80 pid=7").strip() == "5"
    assert sorted(row["value"] for row in rows(cli, PLACES)) == [5, 16]
    cli("map", "delete", PLACES, "pid=7 port=80")
    assert rows(cli, PLACES) == [{"key": {"pid": 8, "port": 443, "unused": 0}, "value": 16}]
    cli("map", "delete", PLACES, "--all")
    assert rows(cli, PLACES) == []


@pytest.mark.parametrize("name", ["cli/cli_places", "cli_places"])
def test_maps_are_found_by_name(cli: Cli, name: str) -> None:
    assert rows(cli, name) == []


def test_maps_are_found_by_id_and_pin(cli: Cli) -> None:
    shown = cli.json("map", "show", PLACES)
    cli("map", "set", PLACES, "pid=1", "1")
    for name in (str(shown["id"]), shown["pinned"][0]):
        assert [row["value"] for row in rows(cli, name)] == [1]


def test_every_format_has_the_same_entries(cli: Cli) -> None:
    cli("map", "set", PLACES, "pid=7 port=80", "5")
    entry = {"key": {"pid": 7, "port": 80, "unused": 0}, "value": 5}
    assert rows(cli, PLACES) == [entry]
    assert json.loads(cli("map", "dump", PLACES, "-o", "jsonl")) == entry
    (line,) = csv.DictReader(StringIO(cli("map", "dump", PLACES, "-o", "csv")))
    assert line == {"key.pid": "7", "key.port": "80", "key.unused": "0", "value": "5"}
    assert cli("map", "dump", PLACES).split() == [
        *("KEY.PID", "KEY.PORT", "KEY.UNUSED", "VALUE"),
        *("7", "80", "0", "5"),
    ]


def test_per_cpu_values_are_summed_or_apart(cli: Cli) -> None:
    cli("map", "set", "cli/cli_versions", "2", "7")
    assert rows(cli, "cli/cli_versions")[2] == {"key": 2, "value": 7 * CPUS}
    assert rows(cli, "cli/cli_versions", "--per-cpu")[2] == {"key": 2, "value": [7] * CPUS}
    assert cli("map", "get", "cli/cli_versions", "2", "--per-cpu").splitlines()[0] == "cpu 0: 7"


def test_dump_can_be_written_back(cli: Cli, tmp_path: Path) -> None:
    for number in range(5):
        cli("map", "set", PLACES, f"pid={number}", str(number))
    saved = cli("map", "dump", PLACES, "-o", "jsonl")
    cli("map", "delete", PLACES, "--all")
    done = cli.try_("map", "set", PLACES, "--from", "-", stdin=saved)
    assert "5 entries written" in done.stderr
    assert sorted(cli("map", "dump", PLACES, "-o", "jsonl").splitlines()) == sorted(
        saved.splitlines()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("get", PLACES, "pid=9"), 4, "no key 'pid=9 port=0 unused=0'"),
        (("get", PLACES, "pdi=9"), 2, "did you mean pid"),
        (("get", PLACES, "pid=x"), 2, "a number from 0 to 4294967295"),
        (("get", PLACES, "port=70000"), 2, "65535"),
        (("set", PLACES, "pid=1", "-1"), 2, ""),
        (("set", PLACES, "pid=1", "1", "--replace"), 4, ""),
        (("set", "cli/cli_versions", "4", "1"), 2, ""),
        (("delete", PLACES, "pid=9"), 4, "no key"),
        (("dump", "cli/nothing"), 4, "nothing"),
        (("dump", "no_such_map"), 4, "no map 'no_such_map'"),
        (("dump", "4294967295"), 4, ""),
        (("set", PLACES, "--from", "/dev/null", "x"), 2, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_keys_and_values(
    cli: Cli, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = cli.try_("map", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(cli, PLACES) == []


def test_full_map(cli: Cli) -> None:
    lines = "".join(
        json.dumps({"key": {"pid": number}, "value": 1}) + "\n" for number in range(17)
    )
    done = cli.try_("map", "set", PLACES, "--from", "-", stdin=lines)
    assert done.returncode == 8
    assert "16" in done.stderr
    assert len(rows(cli, PLACES)) == 16


def test_events_of_a_loaded_object(cli: Cli) -> None:
    cli("attach", "cli/on_enter", "tp_btf")
    getppid(3)
    with cli.started("events", "cli/cli_calls", "--count", "3", "-o", "jsonl") as process:
        out, err = process.communicate(timeout=30)
    assert [json.loads(line)["pid"] for line in out.splitlines()] == [os.getpid()] * 3
    assert "3 events received, 0 lost (kernel 0, daemon 0, network 0)" in err
    assert process.returncode == 0


def test_events_of_many_and_only_some(cli: Cli) -> None:
    cli("attach", "cli/on_enter", "tp_btf")
    getppid(500)
    with cli.started("events", "cli/cli_calls", "--count", "120", "-o", "csv") as process:
        out, _ = process.communicate(timeout=30)
    assert len(out.splitlines()) == 121
    assert out.splitlines()[0] == "pid,version,comm"


def test_events_end_with_ctrl_c_and_duration(cli: Cli) -> None:
    with cli.started("events", "cli/cli_calls", "--duration", "50ms") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "0 events received" in err
    cli("attach", "cli/on_enter", "tp_btf")
    getppid(1)
    with cli.started("events", "cli/cli_calls", "-o", "jsonl") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["version"] == 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_named_type_of_events(cli: Cli) -> None:
    cli("attach", "cli/on_enter", "tp_btf")
    getppid(1)
    arguments = ("events", "cli/cli_calls", "--count", "1", "-o", "jsonl", "--type")
    assert set(json.loads(cli(*arguments, "struct place"))) == {"pid", "port", "unused"}
    assert "did you mean" in cli.refused(2, *arguments, "struct plaze")


def test_reader_that_goes_away_ends_a_dump(cli: Cli) -> None:
    for number in range(8):
        cli("map", "set", PLACES, f"pid={number}", "1")
    script = f"{sys.executable} -m bpfctl map dump {PLACES} -o jsonl | head -n 1"
    done = subprocess.run(
        ["bash", "-c", script], env=cli.environment, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_library_reads_what_the_command_wrote(cli: Cli) -> None:
    cli("map", "set", PLACES, "pid=7 port=80", "5")
    with bpfctl.connect(f"unix:{cli.socket}") as target:
        places = target.map(PLACES)
        assert places.get({"pid": 7, "port": 80}) == 5
        assert list(places.rows()) == [{"key": {"pid": 7, "port": 80, "unused": 0}, "value": 5}]
        ((keys, values),) = places.arrays()
        assert (keys["port"][0], values[0]) == (80, 5)
        places.set({"pid": 1}, 2, "create")
        assert places.update([({"pid": n}, n) for n in range(2, 6)]) == 4
        assert places.clear() == 6
