# SPDX-License-Identifier: Apache-2.0
"""One command on two daemons of this machine, as two targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel import cli_support
from tests.kernel.cli_support import GETPPID, SOURCE, Cli, getppid, needs_clang
from tests.kernel.conftest import MakeDaemon

pytestmark = needs_clang

WATCHED = ("--set", f"watched_pid={os.getpid()}", "--set", f"watched_call={GETPPID}")
BOTH = ("-t", "group:both")


@pytest.fixture
def owned_names() -> set[str]:
    return {"on_enter", "cli_calls", "cli_versions", "cli_places"}


@pytest.fixture
def cli(make_daemon: MakeDaemon, tmp_path: Path) -> Cli:
    daemons = [make_daemon(), make_daemon()]
    for daemon in daemons:
        daemon.start()
    cli = cli_support.make(daemons[0], tmp_path)
    for name, daemon in zip(("one", "two"), daemons, strict=True):
        cli("target", "add", name, "--local", str(daemon.socket), "--group", "both")
    return cli


def count_of(cli: Cli, target: str) -> int:
    (row,) = cli.json("map", "get", "cli/cli_versions", "1", "-t", target)
    return int(row["value"])


def test_a_life_on_two_targets(cli: Cli) -> None:
    loaded = cli.json("load", str(SOURCE), *WATCHED, *BOTH)
    assert [(row["target"], row["name"]) for row in loaded] == [("one", "cli"), ("two", "cli")]
    said = cli("attach", "cli/on_enter", "tp_btf", *BOTH).splitlines()
    words = sorted(line.split(" (")[0] for line in said)
    assert words == ["one: attached cli/on_enter", "two: attached cli/on_enter"]
    getppid(3)
    assert [count_of(cli, name) for name in ("one", "two")] == [3, 3]
    cli("map", "set", "cli/cli_versions", "1", "40", *BOTH)  # for every CPU
    assert [count_of(cli, name) % 40 for name in ("one", "two")] == [0, 0]
    assert count_of(cli, "two") >= 40
    values = cli.json("map", "get", "cli/cli_versions", "1", *BOTH)
    assert [row["target"] for row in values] == ["one", "two"]
    assert all(row["value"] >= 40 for row in values)
    assert cli("map", "get", "cli/cli_versions", "1", *BOTH).split()[:3] == [
        *("TARGET", "KEY", "VALUE")
    ]
    links = [row for row in cli.json("link", "list", *BOTH) if row.get("object") == "cli"]
    assert {row["target"] for row in links} == {"one", "two"}
    shown = cli.json("program", "show", "cli/on_enter", *BOTH)
    assert [row["target"] for row in shown] == ["one", "two"]
    assert shown[0]["id"] != shown[1]["id"]
    table = cli("object", "list", *BOTH).splitlines()
    assert table[0].split()[:2] == ["TARGET", "NAME"]
    assert [line.split()[:2] for line in table[1:]] == [["one", "cli"], ["two", "cli"]]
    cli("detach", "cli/on_enter", *BOTH)
    cli("unload", "cli", *BOTH)
    assert cli.json("object", "list", *BOTH) == []


def test_a_failure_on_one(cli: Cli) -> None:
    cli("load", str(SOURCE), *WATCHED, "-t", "two")
    done = cli.try_("attach", "cli/on_enter", "tp_btf", *BOTH)
    assert done.returncode == 4
    assert done.stdout.startswith("two: attached cli/on_enter")
    assert done.stderr.splitlines()[0].startswith("bpfctl: error: one: there is no object")
    assert done.stderr.splitlines()[-1] == "bpfctl: done on two; failed on one"
    getppid(2)
    assert count_of(cli, "two") == 2
    done = cli.try_("unload", "cli", *BOTH)
    assert (done.returncode, done.stdout) == (4, "two: unloaded cli, detached cli/on_enter\n")
