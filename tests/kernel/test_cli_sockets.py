# SPDX-License-Identifier: Apache-2.0
"""Sockets of cgroups, sockmaps and network namespaces through `bpfctl`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from bpfd.kernel import netns, syscall
from bpfd.kernel.constants import Cmd
from tests.kernel import cli_support
from tests.kernel.clang import PROGRAMS
from tests.kernel.cli_support import Cli, needs_clang, wait_for
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import in_cgroup, own_cgroup, veth_pair

pytestmark = needs_clang

SOURCE = str(PROGRAMS / "cli_sockets.bpf.c")
CLOSED = 4321
"""Nobody listens there."""


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Cli:
    return cli_support.make(daemon, tmp_path)


@pytest.fixture
def owned_names() -> set[str]:
    return {"another_port", "forbid", "allow", "closed", "cli_sockets"}


def ended(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


def test_run_sends_connections_of_a_cgroup_elsewhere(cli: Cli) -> None:
    connect = f"import socket; socket.create_connection(('127.0.0.1', {CLOSED}), 20)"
    with own_cgroup() as group, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        port = server.getsockname()[1]
        arguments = ("-D", "CONNECT4", "--set", f"port={port}", "-p", f"cgroup={group}")
        with cli.started("run", SOURCE, *arguments) as process:
            wait_for(process, f"attached another_port to cgroup_sock_addr:{group},connect4")
            (row,) = [each for each in cli.json("link", "list") if each.get("link")]
            assert (row["type"], row["attach_type"]) == ("cgroup", "cgroup_inet4_connect")
            assert row["cgroup_id"] == os.stat(group).st_ino
            done = in_cgroup(group, connect)
            assert done.returncode == 0, done.stderr
            server.accept()[0].close()
            ended(process)
        assert "ConnectionRefusedError" in in_cgroup(group, connect).stderr
    assert cli.json("object", "list") == []


def test_run_says_what_is_missing(cli: Cli) -> None:
    said = cli.refused(2, "run", SOURCE, "-D", "CONNECT4", "--set", "port=1")
    assert "which cgroup? Add -p cgroup=..." in said
    said = cli.refused(4, "run", SOURCE, "-D", "SK_MSG", "--attach", "forbid=sk_msg:nothing")
    assert "nothing" in said
    assert cli.json("object", "list") == []


def test_attach_to_the_sockets_of_a_map(cli: Cli) -> None:
    cli("load", SOURCE, "-D", "SK_MSG", "--set", "port=5", "--name", "proxy")
    cli("attach", "proxy/forbid", "sk_msg:proxy/cli_sockets", "--name", "sockets")
    (number,) = [
        each["id"] for each in cli.json("map", "list") if each["name"] == "cli_sockets"
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname(), 20)
        far = server.accept()[0]
    with near, far:
        _put(number, near)
        near.send(b"longer")
        assert far.recv(10) == b"longer"
        with pytest.raises(PermissionError):
            near.send(b"hello")
    row = cli.json("link", "show", "sockets")
    assert row["point"] == "sk_msg:proxy/cli_sockets"
    assert row["method"] in ("sockmap link", "sockmap attach")
    assert row["lifetime"] == "pinned"
    if row["method"] == "sockmap link":
        (kernel,) = [each for each in cli.json("link", "list") if each.get("link") == "sockets"]
        assert (kernel["type"], kernel["map_id"], kernel["attach_type"]) == (
            "sockmap",
            number,
            "sk_msg_verdict",
        )
    said = cli.refused(8, "attach", "proxy/allow", "sk_msg:proxy/cli_sockets")
    assert "is taken by program" in said
    cli("link", "update", "sockets", "proxy/allow")
    assert cli.json("link", "show", "sockets")["program"] == "allow"
    cli("detach", "sockets")
    cli("unload", "proxy")


def _put(number: int, made: socket.socket) -> None:
    fd = syscall.fd_by_id(Cmd.MAP_GET_FD_BY_ID, number)
    syscall.map_update_elem(fd, bytes(4), struct.pack("=I", made.fileno()))
    os.close(fd)


def test_run_closes_a_port_of_a_network_namespace(cli: Cli) -> None:
    with veth_pair() as pair:
        with netns.entered(f"/run/netns/{pair.near}"):
            server = socket.create_server((pair.address, 0))
        port = server.getsockname()[1]

        def connect() -> None:
            with netns.entered(f"/run/netns/{pair.far}"):
                made = socket.socket()
            with contextlib.closing(made):
                made.settimeout(20)
                made.connect((pair.address, port))

        arguments = ("-D", "SK_LOOKUP", "--set", f"port={port}", "-p", f"netns={pair.near}")
        with server, cli.started("run", SOURCE, *arguments) as process:
            wait_for(process, f"attached closed to sk_lookup,netns={pair.near}")
            with pytest.raises(ConnectionRefusedError):
                connect()
            (row,) = [each for each in cli.json("link", "list") if each.get("link")]
            inode = os.stat(f"/run/netns/{pair.near}").st_ino
            assert (row["type"], row["netns_ino"]) == ("netns", inode)
            assert row["point"] == f"sk_lookup,netns={pair.near}"
            ended(process)
            connect()
    assert cli.json("object", "list") == []
