# SPDX-License-Identifier: Apache-2.0
"""`bpfctl ps`, `net`, `cgroup tree`, `program show` and `link list` on a busy machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.hooks_support import needs_root
from tests.kernel.visible_support import Seen, look

pytestmark = needs_root


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with look() as found:
        yield found


@pytest.fixture
def cli(seen: Seen, tmp_path: Path) -> Callable[..., str]:
    """The command line at that daemon: gives what it writes."""

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "bpfctl", "-t", f"unix:{seen.daemon.socket}", *words]
        environment = {**os.environ, "BPFCTL_CONFIG_DIR": str(tmp_path)}
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_ps(seen: Seen, cli: Callable[..., str]) -> None:
    lines = cli("ps", "--name", "xdp_*", "--pid", str(os.getpid())).splitlines()
    assert lines[0].split() == [
        *("ID", "TYPE", "NAME", "ATTACHED", "HELD_BY", "MAPS", "MEMORY", "OBJECT")
    ]
    (count,) = (line for line in lines if " xdp_count " in line)
    assert f"xdp:hk0@{seen.busy.pair.near}" in count
    assert f"[{os.getpid()}]" in count
    rows = json.loads(cli("ps", "-o", "json", "--foreign", "--type", "sched_cls"))
    assert {row["type"] for row in rows} == {"sched_cls"}
    count_row = next(row for row in rows if row["id"] == seen.busy.id("hooks", "tc_count"))
    assert {each["method"] for each in count_row["attached"]} >= {"filter"}
    assert [each["name"] for each in count_row["maps"]] == ["hits"]
    wide = cli("ps", "--wide", "--name", "tc_drop")
    assert f"clsact:hk0,ingress,priority=5,handle=3,netns={seen.busy.pair.near}" in wide
    assert cli("ps", "--ours") == ""
    with pytest.raises(
        AssertionError, match="no program type 'sched_cl'; did you mean sched_cls"
    ):
        cli("ps", "--type", "sched_cl")


def test_net_and_tree_for_people(seen: Seen, cli: Callable[..., str]) -> None:
    text = cli("net", "--netns", seen.busy.pair.near)
    head, *rest = text.splitlines()
    assert head.startswith(f"network namespace {seen.busy.pair.near} net:[")
    assert any(re.match(r"├─ hk0 \(\d+\)$", line) for line in rest)
    assert re.search(r"│  ├─ xdp native +\d+ xdp_count, link \d+ of ", text)
    assert re.search(r"tc ingress 1\. +\d+ tc_drop, priority 5 handle 0x3 all, direct", text)
    tree = cli("cgroup", "tree", seen.busy.cgroup).splitlines()
    assert tree[0] == seen.busy.cgroup
    assert "└─ inner" in tree
    assert re.search(r"cgroup_inet_egress 1\. +\d+ cgroup_count, multi", tree[1])


def test_program_show_says_where(seen: Seen, cli: Callable[..., str]) -> None:
    number = str(seen.busy.id("hooks", "xdp_count"))
    row = json.loads(cli("program", "show", number, "-o", "json"))
    assert [each["ifname"] for each in row["attached"]] == ["hk0"]
    links = json.loads(cli("link", "list", "-o", "json"))
    (link,) = (each for each in links if each["id"] == row["attached"][0]["link_id"])
    assert link["program"] == "xdp_count"
    maps = json.loads(cli("map", "show", str(row["map_ids"][0]), "-o", "json"))
    assert "xdp_count" in maps["programs"]
