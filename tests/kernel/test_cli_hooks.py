# SPDX-License-Identifier: Apache-2.0
"""`bpfctl run` and `bpfctl attach` of hooks that are more than a name: what comes out of them
on standard output, and that nothing is left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bpfd.features import PROBES
from tests.kernel import cli_support
from tests.kernel.clang import PROGRAMS
from tests.kernel.cli_support import Cli, needs_clang, wait_for
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import needs_root, veth_pair
from tests.kernel.probed_library import build, library
from tests.kernel.test_attach_struct_ops import SENT, carry, chosen
from tests.kernel.usdt_library import SOURCE as PROBES_SOURCE

pytestmark = [*needs_root, needs_clang]

FUNCTIONS = "int um_one(int a) { return a + 1; }\nint um_two(int a) { return a + 2; }\n"


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


@pytest.fixture
def owned_names() -> set[str]:
    return {
        "runs",
        "only",
        "program",
        "other",
        "entries",
        "grown",
        "counting",
        "said",
        "drops",
        "sends_back",
    }


def source(name: str) -> str:
    return str(PROGRAMS / f"{name}.bpf.c")


def assert_nothing_is_left(cli: Cli) -> None:
    assert cli.json("object", "list") == []
    assert [row for row in cli.json("link", "list") if row.get("link")] == []


def test_an_iterator_writes_its_text_and_ends(cli: Cli) -> None:
    iterators = ("run", source("iterators"), "-D", "TASK", "--no-program", "other")
    done = cli.try_(*iterators)
    assert done.returncode == 0, done.stderr
    assert "attached program to iterator (iterator link)" in done.stderr
    assert f"{os.getpid()} {os.getpid()}" in done.stdout.splitlines()
    rows = [json.loads(line) for line in cli(*iterators, "-o", "jsonl").splitlines()]
    assert {"iterator": "program", "line": f"{os.getpid()} {os.getpid()}"} in rows
    one = cli(*iterators, "--attach", f"iterator,tid={os.getpid()}")
    assert one.splitlines()[0] == f"{os.getpid()} {os.getpid()}"
    assert_nothing_is_left(cli)


def test_an_iterator_over_a_map_is_read_again_and_again(cli: Cli) -> None:
    cli("load", source("iterators"), "-D", "ENTRIES", "--name", "it")
    cli("attach", "it/program", "iterator,map=it/entries", "--name", "it/walk")
    cli("map", "set", "it/entries", "7", "70")
    assert cli("link", "read", "it/walk") == "7=70\n"
    cli("map", "set", "it/entries", "8", "80")
    rows = cli.json("link", "read", "it/walk")
    assert {row["iterator"] for row in rows} == {"it/walk"}
    assert sorted(row["line"] for row in rows) == ["7=70", "8=80"]
    said = cli.refused(8, "link", "read", "it/walk", "--max-bytes", "3")
    assert "limited to 3" in said
    (row,) = [each for each in cli.json("link", "list") if each.get("link") == "it/walk"]
    assert (row["type"], row["point"]) == ("iter", "iterator,map=it/entries")
    cli("unload", "it")
    assert_nothing_is_left(cli)


def test_functions_of_a_library_by_pattern(cli: Cli, tmp_path: Path) -> None:
    path = build(tmp_path, "um", FUNCTIONS)
    lib = library(path)
    where = f"program=uprobe_multi:{path}:um_*,pid={os.getpid()}"
    with cli.started(
        *("run", source("uprobes"), "-D", "MULTI", "--attach", where, "-o", "jsonl"),
        *("--duration", "1s"),
    ) as process:
        wait_for(process, "attached program to uprobe_multi")
        lib.um_one(1)
        lib.um_two(1)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert {"map": "runs", "key": 0, "value": 2} in rows
    assert_nothing_is_left(cli)


def test_a_congestion_control_while_it_runs_and_when_it_stays(cli: Cli) -> None:
    try:
        PROBES["struct_ops"].run()
    except OSError as error:
        pytest.skip(str(error))
    with veth_pair() as pair:
        arguments = ("run", source("struct_ops"), "-D", "LINK", "-o", "jsonl")
        with cli.started(*arguments, "--duration", "2s") as process:
            wait_for(process, "attached cc_ssthresh to struct_ops:struct_ops/counting")
            assert carry(pair, chosen(pair)) == SENT
            out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        (row,) = [json.loads(line) for line in out.splitlines()]
        assert row["map"] == "grown"
        assert row["value"] > 10
        with pytest.raises(FileNotFoundError):
            chosen(pair)
        cli("load", source("struct_ops"), "--name", "cc")
        cli("attach", "cc/cc_ssthresh", "struct_ops:counting")
        assert carry(pair, chosen(pair)) == SENT
        (row,) = [each for each in cli.json("link", "list") if each.get("object") == "cc"]
        assert row["point"] == "struct_ops:cc/counting"
        cli("detach", "cc/cc_ssthresh")
        with pytest.raises(FileNotFoundError):
            chosen(pair)
        cli("unload", "cc")
    assert_nothing_is_left(cli)


def test_a_probe_and_its_arguments(cli: Cli, tmp_path: Path) -> None:
    path = build(tmp_path, "us", PROBES_SOURCE)
    lib = library(path)
    where = f"program=usdt:{path}:bpfd:work,cookie=77"
    only = ("--no-program", "other", "--no-events")
    arguments = ("run", source("usdt"), "-D", "PLAIN", "--attach", where, *only)
    with cli.started(*arguments, "-o", "jsonl", "--duration", "1s") as process:
        wait_for(process, "attached program to usdt:")
        lib.us_one(5)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    said = {row["key"]: row["value"] for row in rows if row["map"] == "said"}
    assert [said[key] for key in range(6)] == [1, 3, 77, 7, 5, (1 << 64) - 5]
    assert_nothing_is_left(cli)


def test_a_function_of_another_object(cli: Cli) -> None:
    cli("load", source("freplace"), "--name", "dispatcher")
    extend = [f"--extend={name}=dispatcher/program:verdict" for name in ("drops", "sends_back")]
    load = ("load", source("freplace"), "-D", "EXTENSION", "--name", "slots", *extend)
    said = cli.refused(2, *load[:-2], "--extend=drops=dispatcher", extend[1])
    assert "OBJECT/PROGRAM:FUNCTION" in said
    done = cli.try_(*load)
    if "freplace (program extensions)" in done.stderr:
        cli("unload", "dispatcher")
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    cli("attach", "slots/drops", "freplace:dispatcher/program,function=verdict")
    (row,) = [each for each in cli.json("link", "list") if each.get("object") == "slots"]
    assert row["point"] == "freplace:dispatcher/program,function=verdict"
    cli("unload", "slots")
    cli("unload", "dispatcher")
    assert_nothing_is_left(cli)
