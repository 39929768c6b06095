# SPDX-License-Identifier: Apache-2.0
"""Chains of XDP programs on the command line: in a package, in lists, in errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel import cli_support
from tests.kernel.clang import PROGRAMS
from tests.kernel.cli_support import Cli, needs_clang
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import needs_root, veth_pair

pytestmark = [*needs_root, needs_clang]


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


def test_a_chain_as_it_is_shown(cli: Cli) -> None:
    source = str(PROGRAMS / "xdp_chain.bpf.c")
    with veth_pair() as pair:
        where = f"xdp:hk0,netns={pair.near}"
        cli("load", source, "--name", "chain")
        cli("load", "ddos", "--name", "ddos")
        cli("attach", "chain/member1", f"{where},priority=20,proceed_on=pass+tx")
        done = cli.try_("attach", "chain/member0", f"{where},priority=10")
        assert "attached chain/member0 (native, 1 of 2 in a chain)" in done.stderr + done.stdout
        rows = [row for row in cli.json("link", "list") if row.get("link")]
        assert [row["link"] for row in rows] == ["chain/member0", "chain/member1"]
        assert len({row["id"] for row in rows}) == 1
        assert len({row["prog_id"] for row in rows}) == 2
        assert len({row["composed_prog_id"] for row in rows}) == 1
        assert rows[1]["point"].endswith(f"priority=20,proceed_on=pass+tx,netns={pair.near}")
        assert [len(row["pinned"]) for row in rows] == [1, 1]
        assert rows[1]["pinned"][0].endswith("/chain/links/chain=2Fmember1")
        table = cli("link", "list")
        assert table.index("chain/member0") < table.index("chain/member1")
        assert cli.json("link", "show", "chain/member1")["prog_id"] == rows[1]["prog_id"]

        said = cli.refused(8, "attach", "chain/member2", f"{where},priority=10")
        assert "priority 10 in the chain of interface hk0" in said
        said = cli.refused(8, "attach", "chain/member2", where)
        assert "with a priority a program joins it" in said
        said = cli.refused(2, "attach", "ddos/ddos", f"{where},priority=5")
        assert "in a chain all do or none" in said
        said = cli.refused(2, "attach", "chain/member2", f"{where},priority=1,proceed_on=pas")
        assert "did you mean pass" in said

        cli("link", "update", "chain/member0", "chain/member3")
        cli("detach", "chain/member1")
        cli("unload", "chain")
        cli("unload", "ddos")
        assert [row for row in cli.json("link", "list") if row.get("link")] == []


def test_two_firewalls_on_one_interface(cli: Cli) -> None:
    with veth_pair() as pair:
        for name, priority in (("inner", 20), ("outer", 10)):
            cli("load", "ddos", "--name", name)
            cli("attach", f"{name}/ddos", f"xdp:hk0,priority={priority},netns={pair.near}")
        pair.send(b"one")
        for name in ("inner", "outer"):
            rows = cli.json("map", "dump", f"{name}/counters")
            packets = {row["key"]: row["value"]["packets"] for row in rows}
            assert packets["PASSED"] >= 1
        cli("unload", "outer")
        cli("unload", "inner")
