# SPDX-License-Identifier: Apache-2.0
"""`bpfctl verify` on two daemons, and the call behind it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from bpfd.v1 import common_pb2, objects_pb2
from tests.kernel import cli_support
from tests.kernel.api import Api, refused
from tests.kernel.clang import compiled
from tests.kernel.cli_support import Cli, needs_clang
from tests.kernel.conftest import MakeDaemon, RunningDaemon

pytestmark = needs_clang

SOURCE = str(Path(__file__).parent / "programs" / "verify.bpf.c")


@pytest.fixture
def owned_names() -> set[str]:
    return {"returns", "walks", "when_asked_for", "unchecked", "replaces"}


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


def rows(cli: Cli, *arguments: str) -> dict[str, Any]:
    """Rows by program."""
    return {row["program"]: row for row in cli.json("verify", SOURCE, *arguments)}


def test_what_keeps_one_program_does_not_hide_the_others(channel: grpc.Channel) -> None:
    elf = compiled("verify", "REFUSED", "ALONE")
    answer = Api(channel).objects.Verify(objects_pb2.VerifyRequest(elf=elf))
    found = {item.log.program: item for item in answer.programs}
    assert list(found) == ["returns", "walks", "unchecked", "replaces"]
    assert [item.accepted for item in answer.programs] == [True, True, False, False]
    walks = found["walks"]
    assert walks.type == common_pb2.PROGRAM_TYPE_SOCKET_FILTER
    assert walks.bytes_xlated > 0
    assert walks.log.statistics.processed_insns > 8
    assert len(walks.log.statistics.stack_depth) == 2
    assert found["unchecked"].errno == 13
    assert not found["unchecked"].HasField("error")
    assert found["replaces"].error.WhichOneof("kind") == "invalid_argument"
    assert "freplace" in found["replaces"].error.invalid_argument.why


def test_an_error_that_all_share_is_the_calls(channel: grpc.Channel) -> None:
    options = objects_pb2.LoadOptions(maps=[objects_pb2.MapSetting(name="none")])
    request = objects_pb2.VerifyRequest(elf=compiled("verify"), options=options)
    with refused("invalid_argument"):
        Api(channel).objects.Verify(request)


def test_struct_ops_programs_one_by_one(cli: Cli) -> None:
    source = Path(SOURCE).with_name("struct_ops.bpf.c")
    found = cli.json("verify", str(source))
    assert [row["program"] for row in found] == ["cc_ssthresh", "cc_cong_avoid", "cc_undo_cwnd"]
    assert {row["verdict"] for row in found} == {"accepted"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("tail_calls", ["first", "second"]),
        ("foreign", ["for_first", "calls_second"]),
    ],
)
def test_programs_that_a_map_names(cli: Cli, source: str, names: list[str]) -> None:
    found = cli.json("verify", str(Path(SOURCE).with_name(f"{source}.bpf.c")))
    assert [row["program"] for row in found] == names
    assert {row["verdict"] for row in found} == {"accepted"}


def test_figures_are_those_of_the_kernel(cli: Cli) -> None:
    found = rows(cli)
    assert list(found) == ["returns", "walks"]
    walks = found["walks"]
    assert (walks["verdict"], walks["type"], walks["section"]) == (
        "accepted",
        "socket_filter",
        "socket",
    )
    assert walks["processed_insns"] > walks["size_insns"] > found["returns"]["size_insns"] == 2
    assert walks["stack_bytes"] == sum(walks["stack_depth"]) >= 24
    assert walks["bytes_xlated"] == 8 * walks["size_insns"]  # nothing of it is rewritten
    cli("load", SOURCE, "--name", "kept")
    shown = cli.json("program", "show", "kept/walks")
    assert walks["processed_insns"] == shown["verified_insns"]
    for figure in ("bytes_xlated", "bytes_jited"):
        assert walks[figure] == shown[figure]
    cli("unload", "kept")


def test_a_choice_of_programs(cli: Cli) -> None:
    assert list(rows(cli, "--program", "w*")) == ["walks", "when_asked_for"]
    assert list(rows(cli, "--no-program", "w*")) == ["returns"]
    assert "did you mean walks" in cli.refused(4, "verify", SOURCE, "--program", "walk")


def test_logs(cli: Cli) -> None:
    done = cli.try_("verify", SOURCE, "--log", "2", "--program", "returns")
    assert done.returncode == 0
    assert "--- verifier log of returns\n" in done.stderr
    assert "(95) exit" in done.stderr
    found = rows(cli, "--log", "2")
    assert "(95) exit" in found["walks"]["log"]
    assert found["walks"]["processed_insns"] > 0
    assert "log" not in rows(cli)["walks"]


def test_a_log_of_each_although_one_cannot_be_tried(cli: Cli) -> None:
    done = cli.try_("verify", SOURCE, "-D", "ALONE", "--log", "2", "-o", "json")
    assert done.returncode == 2
    found = {row["program"]: row for row in json.loads(done.stdout)}
    assert found["replaces"]["verdict"] == "untried"
    assert "freplace" in found["replaces"]["reason"]
    assert all("(95) exit" in found[name]["log"] for name in ("returns", "walks"))


def test_a_refusal_is_shown_and_the_others_go_on(cli: Cli) -> None:
    done = cli.try_("verify", SOURCE, "-D", "REFUSED", "-D", "ALONE", "-o", "json")
    assert done.returncode == 3
    found = {row["program"]: row for row in json.loads(done.stdout)}
    verdicts = {name: row["verdict"] for name, row in found.items()}
    assert verdicts == {
        "returns": "accepted",
        "walks": "accepted",
        "unchecked": "refused",
        "replaces": "untried",
    }
    assert "mem access" in found["unchecked"]["reason"]
    assert found["unchecked"]["line"] == _line("no pointer")
    assert "freplace" in found["replaces"]["reason"]
    assert f"verify.bpf.c:{_line('no pointer')}:" in done.stderr
    assert "return *data; /* no pointer */" in done.stderr
    assert "bpfctl: error: the verifier refused unchecked" in done.stderr
    assert cli.refused(2, "verify", SOURCE, "-D", "ALONE").count("bpfctl: error:") == 1
    cli("verify", SOURCE, "-D", "ALONE", "--no-program", "replaces")


def _line(words: str) -> int:
    lines = Path(SOURCE).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


def test_two_builds_beside_each_other(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "old.o").write_bytes(compiled("verify"))
    (tmp_path / "new.o").write_bytes(compiled("verify", "MORE"))
    pairs = cli.json("verify", "new.o", "--compare", "old.o")
    assert [pair["program"] for pair in pairs] == ["walks", "returns"]
    insns = pairs[0]["processed_insns"]
    assert insns["new"] - insns["old"] == insns["difference"] > 0
    assert insns["percent"] == round(100 * insns["difference"] / insns["old"], 2)
    assert pairs[1]["processed_insns"]["difference"] == 0
    table = cli("verify", "new.o", "--compare", "old.o", "--metric", "insns").splitlines()
    assert table[0].split() == ["PROGRAM", "VERDICT", "INSNS"]
    assert f"{insns['old']} -> {insns['new']} (+{insns['difference']}, +" in table[1]
    (tmp_path / "base.json").write_text(cli("verify", "old.o", "-o", "json"))
    same = cli.json("verify", "new.o", "--baseline", "base.json")
    assert [pair["processed_insns"] for pair in same] == [
        pair["processed_insns"] for pair in pairs
    ]
    text = cli("verify", "new.o", "--baseline", "base.json", "-o", "csv")
    (first, _) = csv.DictReader(io.StringIO(text))
    assert int(first["processed_insns.difference"]) == insns["difference"]


def test_what_may_not_grow(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "old.o").write_bytes(compiled("verify"))
    (tmp_path / "new.o").write_bytes(compiled("verify", "MORE"))
    compare = ("verify", "new.o", "--compare", "old.o")
    said = cli.refused(1, *compare, "--max-increase", "10%")
    assert said.startswith("bpfctl: error: walks: processed_insns ")
    assert "it may grow by 10%" in said
    cli(*compare, "--max-increase", "1000%", "--max-increase", "stack=0")
    cli("verify", "old.o", "--compare", "new.o", "--max-increase", "0%")
    assert "need --compare" in cli.refused(2, "verify", "new.o", "--max-increase", "10%")


def test_several_targets(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemons = [make_daemon(), make_daemon()]
    for each in daemons:
        each.start()
    cli = cli_support.make(daemons[0], tmp_path)
    for name, each in zip(("one", "two"), daemons, strict=True):
        cli("target", "add", name, "--local", str(each.socket))
    done = cli.try_("verify", SOURCE, "-D", "REFUSED", "-t", "one,two", "-o", "jsonl")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["target"], row["program"]) for row in found] == [
        (target, program)
        for target in ("one", "two")
        for program in ("returns", "walks", "unchecked")
    ]
    assert done.returncode == 3
    assert done.stderr.count("bpfctl: error: ") == 1
    assert "bpfctl: error: one, two: the verifier refused unchecked" in done.stderr
    (tmp_path / "base.json").write_text(cli("verify", SOURCE, "-t", "one,two", "-o", "json"))
    pairs = cli.json("verify", SOURCE, "-t", "two,one", "--baseline", "base.json")
    assert sorted(pair["target"] for pair in pairs) == ["one", "one", "two", "two"]
    assert {pair["processed_insns"]["difference"] for pair in pairs} == {0}
    daemons[1].stop()
    done = cli.try_("verify", SOURCE, "-t", "one,two", "-o", "json")
    assert done.returncode == 5
    assert {row["target"] for row in json.loads(done.stdout)} == {"one"}


def test_nothing_stays(cli: Cli) -> None:
    before = _walks()
    cli("verify", SOURCE)
    assert _walks() == before
    assert cli.json("object", "list") == []


def _walks() -> set[int]:
    done = subprocess.run(["bpftool", "-j", "prog"], capture_output=True, check=True)
    return {item["id"] for item in json.loads(done.stdout) if item.get("name") == "walks"}
