# SPDX-License-Identifier: Apache-2.0
"""load, attach, link, unload and the lists, beside what bpftool says of the same."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import cli_support
from tests.kernel.cli_support import GETPPID, SOURCE, Cli, getppid, needs_clang
from tests.kernel.conftest import RunningDaemon

pytestmark = needs_clang

WATCHED = ("--set", f"watched_pid={os.getpid()}", "--set", f"watched_call={GETPPID}")


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


@pytest.fixture
def owned_names() -> set[str]:
    return {"on_enter", "cli_calls", "cli_versions", "cli_places"}


def bpftool(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(["bpftool", "-j", *arguments], capture_output=True, check=True)
    rows = json.loads(done.stdout)
    return rows if isinstance(rows, list) else [rows]


def load(cli: Cli, *arguments: str) -> Any:
    return cli.json("load", str(SOURCE), *WATCHED, *arguments)


def count_of(cli: Cli, version: int) -> int:
    (row,) = cli.json("map", "get", "cli/cli_versions", str(version))
    return int(row["value"])


def test_loaded_object_stays_until_unload(cli: Cli) -> None:
    assert [entry["name"] for entry in load(cli)["programs"]] == ["on_enter"]
    (held,) = cli.json("object", "list")
    assert (held["name"], held["lifetime"]) == ("cli", "pinned")
    cli("attach", "cli/on_enter", "tp_btf")
    getppid(4)
    assert count_of(cli, 1) == 4
    cli("detach", "cli/on_enter")
    getppid(4)
    assert count_of(cli, 1) == 4
    assert "unloaded cli" in cli("unload", "cli")
    assert cli.json("object", "list") == []
    assert "no object 'cli'" in cli.refused(4, "unload", "cli")


def test_second_load_of_a_name_wants_replace(cli: Cli) -> None:
    load(cli)
    said = cli.refused(2, "load", str(SOURCE))
    assert "cli" in said
    cli("attach", "cli/on_enter", "tp_btf")
    getppid(3)
    load(cli, "-D", "VERSION=2", "--replace")
    getppid(5)
    assert (count_of(cli, 1), count_of(cli, 2)) == (3, 5)
    cli("unload", "cli")


def test_link_update_exchanges_the_program(cli: Cli) -> None:
    load(cli)
    load(cli, "-D", "VERSION=2", "--name", "cli2", "--reuse", "cli_versions=cli/cli_versions")
    (link,) = [row for row in cli.json("link", "list") if row.get("object") == "cli"] or [None]
    assert link is None
    cli("attach", "cli/on_enter", "tp_btf", "--name", "watch")
    getppid(1)
    done = cli.json("link", "update", "watch", "cli2/on_enter")
    assert done["link"] == "watch"
    assert done["prog_id"] != done["old_prog_id"]
    getppid(2)
    assert (count_of(cli, 1), count_of(cli, 2)) == (1, 2)
    cli("unload", "cli", "cli2")


def test_programs_are_as_bpftool_says(cli: Cli) -> None:
    load(cli)
    ours = {row["id"]: row for row in cli.json("program", "list")}
    (mine,) = [row for row in ours.values() if row.get("object") == "cli"]
    (theirs,) = bpftool("prog", "show", "id", str(mine["id"]))
    assert {name: mine[name] for name in theirs} == theirs
    assert cli.json("program", "show", "cli/on_enter")["id"] == mine["id"]
    assert cli.json("program", "show", "on_enter")["id"] == mine["id"]
    cli("unload", "cli")


def test_maps_are_as_bpftool_says(cli: Cli) -> None:
    load(cli, "--map-size", "cli_places=99")
    ours = [row for row in cli.json("map", "list") if row.get("object") == "cli"]
    assert {row["member"] for row in ours} >= {"cli_calls", "cli_versions", "cli_places"}
    for row in ours:
        (theirs,) = bpftool("map", "show", "id", str(row["id"]))
        assert {name: row[name] for name in theirs} == theirs
    (places,) = [row for row in ours if row["member"] == "cli_places"]
    assert places["max_entries"] == 99
    cli("unload", "cli")


def test_links_are_as_bpftool_says(cli: Cli) -> None:
    load(cli)
    cli("attach", "cli/on_enter", "tp_btf")
    (mine,) = [row for row in cli.json("link", "list") if row.get("object") == "cli"]
    # bpftool 7.5 answers `link show id` and exits with 255 all the same.
    (theirs,) = [row for row in bpftool("link", "show") if row["id"] == mine["id"]]
    assert {name: mine.get(name) for name in theirs} == theirs
    assert (mine["link"], mine["point"], mine["lifetime"]) == (
        "cli/on_enter",
        "tp_btf",
        "pinned",
    )
    assert cli.json("link", "show", "cli/on_enter")["id"] == mine["id"]
    assert cli.json("link", "show", str(mine["id"]))["link"] == "cli/on_enter"
    cli("unload", "cli")


def test_verify_only_leaves_nothing(cli: Cli) -> None:
    rows = cli.json("load", str(SOURCE), "--verify-only")
    assert [row["program"] for row in rows] == ["on_enter"]
    assert rows[0]["verdict"] == "accepted"
    assert rows[0]["processed_insns"] > 0
    cli.refused(3, "load", str(SOURCE), "--verify-only", "-D", "REFUSED")
    assert cli.json("object", "list") == []


def test_object_files_and_packages(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "made.o"
    assert "made.o" in cli("build", str(SOURCE), "-o", str(out))
    assert out.read_bytes()[:4] == b"\x7fELF"
    assert cli.json("load", str(out), "--name", "from-file")["name"] == "from-file"
    cli("unload", "from-file")
    assert cli.json("load", "ddos", "--map-size", "block_v4=100")["name"] == "ddos"
    assert "ddos" in cli.refused(4, "load", "ddoss")
    cli("unload", "ddos")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello, world\n", "a text"),
        (b"\x7fELF" + bytes(200), "ELF"),
        (Path("/bin/true").read_bytes(), "not for BPF"),
    ],
    ids=["empty", "text", "damaged", "other machine"],
)
def test_bad_objects_are_refused(cli: Cli, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad.o").write_bytes(content)
    assert words in cli.refused(2, "load", "bad.o")
    assert cli.json("object", "list") == []


def test_truncated_and_huge_objects_are_refused(cli: Cli, tmp_path: Path) -> None:
    cli("build", str(SOURCE), "-o", "whole.o")
    whole = (tmp_path / "whole.o").read_bytes()
    (tmp_path / "cut.o").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in cli.refused(2, "load", "cut.o")
    with (tmp_path / "huge.o").open("wb") as file:
        file.write(whole)
        file.truncate(200 << 20)
    assert "allowed" in cli.refused(2, "load", "huge.o")


def test_compiler_errors_are_the_compilers(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.bpf.c").write_text("int x = ;\n")
    said = cli.refused(1, "load", "broken.bpf.c")
    assert "broken.bpf.c:1:9: error: expected expression" in said


def test_viewer_may_look_and_not_touch(daemon: RunningDaemon, tmp_path: Path) -> None:
    viewer = Cli(daemon.read_only_socket, tmp_path)
    assert viewer.json("object", "list") == []
    assert "role" in viewer.refused(6, "load", str(SOURCE))


def test_table_of_objects(cli: Cli) -> None:
    load(cli)
    head, row = cli("object", "list").splitlines()
    assert head.split() == ["NAME", "LIFETIME", "PROGRAMS", "MAPS", "LINKS"]
    assert row.split()[:3] == ["cli", "pinned", "on_enter"]
    assert "on_enter" in cli("object", "show", "cli")
    cli("unload", "cli")
