# SPDX-License-Identifier: Apache-2.0
"""What programs are attached to goes away: links are shown as detached and can be detached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bpfctl.cli.link import link_rows
from bpfctl.config import LocalTarget
from bpfctl.target import Target

from tests.kernel.api import eventually
from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import check_clean
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import Pair, own_cgroup, veth_pair
from tests.kernel.probed_library import build

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")


@pytest.fixture
def target(daemon: RunningDaemon) -> Iterator[Target]:
    """Everything of it must be gone afterwards."""
    with Target.open("daemon", LocalTarget(str(daemon.socket))) as found:
        yield found
    check_clean(daemon)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def row_of(target: Target, name: str) -> dict[str, Any]:
    """What `link list` shows of a link of the daemon."""
    (row,) = [each for each in link_rows(target.all_links()) if each.get("link") == name]
    return row


def gone(target: Target, names: list[str], states: bool = True) -> None:
    """These links of object `o` are shown as detached, and go."""
    for name in names:
        if states:
            assert eventually(lambda n=name: row_of(target, n)["state"] == "detached"), name  # type: ignore[misc]
        else:
            row_of(target, name)
    for name in names[:-1]:
        target.detach(name)
    assert target.unload("o") == names[-1:]


def remove(pair: Pair, what: str) -> None:
    """The interface, or its namespace with all that it has."""
    if what == "interface":
        pair.ip("link", "del", "hk0")
    else:
        subprocess.run(["ip", "netns", "del", pair.near], check=True)


@pytest.mark.parametrize("what", ["interface", "namespace"])
def test_an_interface(target: Target, pair: Pair, what: str) -> None:
    target.load(compiled("hooks"), "o")
    where = f"hk0,netns={pair.near}"
    target.attach("o/xdp_count", f"xdp:{where}", name="o/xdp")
    target.attach("o/tc_count", f"tc:{where},ingress", name="o/tc")
    target.attach("o/tc_drop", f"clsact:{where},egress", name="o/clsact")
    linked = ["o/xdp", "o/tc"] if row_of(target, "o/tc")["type"] == "tcx" else ["o/xdp"]
    assert {row_of(target, name)["state"] for name in linked} == {"attached"}
    remove(pair, what)
    assert all(
        eventually(lambda n=name: row_of(target, n)["state"] == "detached")  # type: ignore[misc]
        for name in linked
    )
    target.detach("o/xdp")
    target.detach("o/clsact")
    assert target.unload("o") == ["o/tc"]


@pytest.mark.parametrize("what", ["interface", "namespace"])
def test_an_interface_with_a_chain(target: Target, pair: Pair, what: str) -> None:
    target.load(compiled("hooks"), "o")
    where = f"xdp:hk0,netns={pair.near}"
    target.attach("o/xdp_count", f"{where},priority=5", name="o/a")
    target.attach("o/xdp_count", f"{where},priority=7", name="o/b")
    remove(pair, what)
    target.detach("o/a")
    assert target.unload("o") == ["o/b"]


def test_a_namespace(target: Target, pair: Pair) -> None:
    target.load(compiled("netns_hooks"), "o")
    target.attach("o/to_listener", f"sk_lookup,netns={pair.near}", name="o/a")
    target.attach("o/one_flow", f"flow_dissector,netns={pair.near}", name="o/b")
    remove(pair, "namespace")
    gone(target, ["o/a", "o/b"])


def test_a_route_and_a_netfilter_hook(target: Target, pair: Pair) -> None:
    """The kernel keeps no link for the one, and does not tell of the other."""
    target.load(compiled("lwt"), "o")
    target.attach("o/out_drops", f"lwt:hk0,prefix=10.99.0.0/16,netns={pair.near}", name="o/a")
    remove(pair, "interface")
    gone(target, ["o/a"], states=False)


def test_a_cgroup(target: Target) -> None:
    target.load(compiled("hooks"), "o")
    with own_cgroup() as path:
        target.attach("o/cgroup_count", f"cgroup_skb:{path}", name="o/a")
        target.attach("o/sock_ops_count", f"sock_ops:{path}", name="o/b")
        assert row_of(target, "o/a")["state"] == "attached"
    gone(target, ["o/a", "o/b"])


def test_a_process_and_its_binary(target: Target, tmp_path: Path) -> None:
    library = build(tmp_path, "um", "int um_one(int a) { return a + 1; }\n")
    code = f"import ctypes; ctypes.CDLL({library!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        target.load(compiled("hooks"), "o")
        where = f"{library}:um_one,pid={process.pid}"
        target.attach("o/probe_entry", f"uprobe:{where}", name="o/a")
        target.attach("o/sample", f"perf_event:cpu-clock,period=1000000,pid={process.pid}")
        process.communicate(b"\n")
    os.unlink(library)
    rows = link_rows(target.all_links())
    assert any(row.get("link") == "o/a" for row in rows)
    target.detach("o/a")
    assert target.unload("o") == ["o/sample"]


def test_a_socket(target: Target) -> None:
    code = "import socket; s = socket.socket(2, 2); print(s.fileno(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        target.load(compiled("sockets"), "o")
        programs = target.object("o").programs
        name = next(each for each, program in programs.items() if program.section == "socket")
        target.attach(f"o/{name}", f"socket_filter,pid={process.pid},fd={number}", name="o/a")
        process.communicate(b"\n")
    gone(target, ["o/a"], states=False)


def test_somebody_else_detaches_a_link(target: Target, pair: Pair) -> None:
    from bpfd.kernel import syscall
    from bpfd.kernel.constants import Cmd

    target.load(compiled("hooks"), "o")
    made = target.attach("o/xdp_count", f"xdp:hk0,netns={pair.near}", name="o/a")
    fd = syscall.fd_by_id(Cmd.LINK_GET_FD_BY_ID, made.link_ids[0])
    syscall.link_detach(fd)
    os.close(fd)
    gone(target, ["o/a"])
