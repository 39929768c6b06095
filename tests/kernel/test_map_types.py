# SPDX-License-Identifier: Apache-2.0
"""Every type of map through the command line: a program sees what was written into it."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import bpfctl
import pytest
from bpfctl import errors

from bpfd.kernel import netns, syscall
from bpfd.kernel.constants import Cmd
from tests.kernel import clang, cli_support
from tests.kernel.api import eventually
from tests.kernel.cli_support import GETPPID, Cli, getppid, needs_clang
from tests.kernel.conftest import RunningDaemon, SharedDaemon
from tests.kernel.hooks_support import in_cgroup, own_cgroup, veth_pair
from tests.kernel.xdp_socket import XdpSocket

pytestmark = needs_clang

PACKET = bytes(64)


class Object:
    """The programs of map_types.bpf.c, loaded as `mt`."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self._programs = {
            each["name"]: each["id"]
            for each in cli.json("program", "list")
            if each.get("object") == "mt"
        }

    def __call__(self, command: str, name: str, *arguments: str) -> str:
        return self.cli("map", command, f"mt/{name}", *arguments)

    def rows(self, name: str, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cli.json("map", "dump", f"mt/{name}", *arguments)
        return found

    def refused(self, code: int, command: str, name: str, *arguments: str) -> str:
        return self.cli.refused(code, "map", command, f"mt/{name}", *arguments)

    def setting(self, number: int) -> None:
        self("set", "numbers", "1", str(number))
        self("set", "numbers", "2", "0")

    @property
    def seen(self) -> int:
        return int(self("get", "numbers", "2"))

    @property
    def runs(self) -> int:
        return int(self("get", "numbers", "0"))

    def run(self, program: str) -> int:
        """The program's verdict on a packet."""
        fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, self._programs[program])
        try:
            return syscall.prog_test_run(fd, PACKET)[0]
        finally:
            os.close(fd)

    @contextmanager
    def attached(self, program: str, point: str) -> Iterator[None]:
        self.cli("attach", f"mt/{program}", point)
        try:
            yield
        finally:
            self.cli("detach", f"mt/{program}")

    def called(self, setting: int) -> int:
        """What on_call shows of a system call of this process."""
        self.setting(setting)
        with self.attached("on_call", "tp_btf"):
            getppid(1)
        return self.seen


@pytest.fixture
def daemon(shared_daemon: SharedDaemon) -> RunningDaemon:
    """One for all tests here."""
    return shared_daemon.running()


@pytest.fixture
def mt(daemon: RunningDaemon, tmp_path: Path) -> Iterator[Object]:
    cli = cli_support.make(daemon, tmp_path)
    (tmp_path / "mt.o").write_bytes(clang.compiled("map_types"))
    watched = ("--set", f"watched_pid={os.getpid()}", "--set", f"watched_call={GETPPID}")
    cli("load", "mt.o", *watched)
    yield Object(cli)
    cli("unload", "mt")


@pytest.fixture
def owned_names() -> set[str]:
    # Not the array of programs: the kernel loses a reference to one that somebody opens by its
    # id between its last close and the work that empties it (prog_array_map_clear()).
    return {"mt_inner", "mt_made"}


def test_programs_and_maps_are_named(mt: Object, tmp_path: Path) -> None:
    mt.setting(5)
    assert mt.run("call") == 2
    mt("set", "mt_calls", "1", "show_setting")
    assert mt.run("call") == 1
    assert mt.seen == 1005
    (row,) = mt.rows("mt_calls")
    assert row == {"key": 1, "value": row["value"], "name": "mt/show_setting"}
    assert "mt/show_setting" in mt("dump", "mt_calls")
    assert mt("get", "mt_calls", "1").split() == [str(row["value"]), "mt/show_setting"]
    mt("set", "mt_calls", "2", "program:mt/show_setting")
    mt("set", "mt_calls", "3", str(row["value"]))
    assert {each["name"] for each in mt.rows("mt_calls")} == {"mt/show_setting"}
    mt("delete", "mt_calls", "1")
    assert mt.run("call") == 2
    assert "no program 'no_such_one'" in mt.refused(4, "set", "mt_calls", "1", "no_such_one")
    assert "mt/on_call" not in mt("dump", "mt_calls")
    mt.refused(2, "set", "mt_calls", "1", "on_call")

    mt("set", "mt_inner", "7", "77")
    mt("set", "mt_outer", "1", "mt_inner")
    mt.cli("map", "create", "mt_made", "--like", "mt/mt_inner")
    try:
        mt.cli("map", "set", "mt_made", "7", "78")
        mt("set", "mt_outer", "2", "map:mt_made/mt_made")
        mt("set", "mt_outer_hash", "9", "mt_made")
        for outer, value in ((1, 77), (2, 78), (9, 78)):
            mt.setting(outer)
            mt.run("inner_value")
            assert mt.seen == value
        rows = {each["key"]: each["name"] for each in mt.rows("mt_outer")}
        assert rows == {1: "mt/mt_inner", 2: "mt_made/mt_made"}
        saved = mt("dump", "mt_outer", "-o", "jsonl")
        mt("delete", "mt_outer", "1", "2")
        (tmp_path / "saved").write_text(saved)
        mt("set", "mt_outer", "--from", "saved")
        assert mt("dump", "mt_outer", "-o", "jsonl") == saved
    finally:
        mt.cli("unload", "mt_made")
    assert "refuses" in mt.refused(2, "set", "mt_outer", "3", "numbers")


def test_interfaces_and_cpus(mt: Object) -> None:
    with veth_pair() as first, veth_pair() as second:
        there = second.indexes()["hk0"]
        near = f"netns={second.near}"
        mt("set", "mt_devs", "1", f"hk0,{near},program=on_way_out")
        mt("set", "mt_dev_hash", "1", f"ifindex:{there},{near}")
        (row,) = mt.rows("mt_devs")
        assert row["value"]["ifindex"] == there
        assert row["name"] == "mt/on_way_out"
        shown = f"ifindex={there} prog_id={row['value']['prog_id']}  mt/on_way_out"
        assert mt("get", "mt_devs", "1").strip() == shown
        assert mt.rows("mt_dev_hash")[0]["value"]["ifindex"] == there
        assert "no interface 'hk7'" in mt.refused(4, "set", "mt_devs", "1", f"hk7,{near}")
        mt.refused(2, "set", "mt_devs", "2", f"hk0,{near},speed=9")
        # The kernel's own form of a program is a descriptor of the daemon's.
        with (
            bpfctl.connect(f"unix:{mt.cli.socket}") as target,
            pytest.raises(errors.InvalidArgument, match="by name or id"),
        ):
            target.map("mt/mt_devs").update_raw(bytes(4), b"\1\0\0\0\5\0\0\0")
        with netns.entered(f"/run/netns/{second.far}"):
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
        with sniffer, mt.attached("to_device", f"xdp:hk0,netns={first.near},mode=generic"):
            sniffer.settimeout(10)
            mt.setting(1)
            _send(first.far)
            assert sniffer.recv(100)[14:18] == b"test"
            assert mt.seen == there
        mt("set", "mt_cpus", "0", "192,program=mt/on_cpu")
        (row,) = mt.rows("mt_cpus")
        assert (row["value"]["qsize"], row["name"]) == (192, "mt/on_cpu")
        with mt.attached("to_cpu", f"xdp:hk0,netns={first.near},mode=native"):
            mt.setting(0)
            _send(first.far)
            assert eventually(lambda: mt.seen == 500)


def test_frames_reach_a_socket_of_a_process(mt: Object) -> None:
    with veth_pair() as pair:
        with netns.entered(f"/run/netns/{pair.near}"):
            made = XdpSocket("hk0")
        try:
            key = f"socket:{os.getpid()}/{made.socket.fileno()}"
            mt("set", "mt_xsks", "0", key)
            with mt.attached("to_xsk", f"xdp:hk0,netns={pair.near},mode=generic"):
                mt.setting(0)
                _send(pair.far)
                assert eventually(lambda: any(each[14:18] == b"test" for each in made.frames()))
        finally:
            made.close()


def _send(namespace: str) -> None:
    """A frame of the experimental protocol 0x88b5."""
    with netns.entered(f"/run/netns/{namespace}"):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind(("hk1", 0))
        raw.send(b"\xff" * 12 + b"\x88\xb5" + b"test" * 12)


def test_sockets_of_processes(mt: Object) -> None:
    own = f"socket:{os.getpid()}"
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        with mt.attached("refuse_even", "sk_msg:mt/mt_sock_hash"):
            near = stack.enter_context(socket.create_connection(server.getsockname(), 10))
            far = stack.enter_context(server.accept()[0])
            mt("set", "mt_sock_hash", "3", f"{own}/{near.fileno()}")
            (row,) = mt.rows("mt_sock_hash")
            assert row["key"] == 3
            assert row["value"]
            near.send(b"odd")
            assert far.recv(10) == b"odd"
            with pytest.raises(PermissionError):
                near.send(b"even")
            assert mt.runs == 2
            mt("delete", "mt_sock_hash", "3")
        mt("set", "mt_socks", "0", f"{own}/{far.fileno()}")
        assert [each["key"] for each in mt.rows("mt_socks")] == [0]
        mt.refused(2, "set", "mt_socks", "1", str(near.fileno()))
        mt.refused(4, "set", "mt_socks", "1", f"{own}/9999")
        group = [stack.enter_context(_member()) for _ in range(2)]
        port = group[0].getsockname()[1]
        group[1].bind(("127.0.0.1", port))
        for index, each in enumerate(group):
            mt("set", "mt_group", str(index), f"{own}/{each.fileno()}")
        point = f"sk_reuseport,pid={os.getpid()},fd={group[0].fileno()}"
        with mt.attached("choose", point), socket.socket(type=socket.SOCK_DGRAM) as sender:
            for index in (1, 0, 1):
                mt.setting(index)
                sender.sendto(b"%d" % index, ("127.0.0.1", port))
                assert group[index].recv(10) == b"%d" % index
        xsk = stack.enter_context(socket.socket(44, socket.SOCK_RAW))  # AF_XDP
        mt("set", "mt_xsks", "2", f"{own}/{xsk.fileno()}")
        mt.setting(2)
        mt.run("has_xsk")
        assert mt.seen == 1
        mt("delete", "mt_xsks", "2")
        mt.run("has_xsk")
        assert mt.seen == 2
        assert "does not tell" in mt.refused(7, "dump", "mt_xsks")


def _member() -> socket.socket:
    """Of a group of UDP sockets; the first one chooses the port."""
    made = socket.socket(type=socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.settimeout(10)
    if not _member.__dict__.setdefault("bound", False):
        made.bind(("127.0.0.1", 0))
    _member.__dict__["bound"] = not _member.__dict__["bound"]
    return made


def test_storage_of_tasks_and_sockets(mt: Object) -> None:
    own = f"pid:{os.getpid()}"
    mt("set", "mt_task", own, "41")
    assert mt.called(1) == 41
    assert mt("get", "mt_task", own).strip() == "41"
    assert mt.cli.json("map", "get", "mt/mt_task", own) == [{"key": own, "value": 41}]
    (row,) = mt.rows("mt_task")
    assert (row["key"], row["value"], bool(row["name"])) == (own, 41, True)
    saved = mt("dump", "mt_task", "-o", "jsonl")
    mt("delete", "mt_task", own)
    assert mt.called(1) == 0
    assert mt.rows("mt_task") == []
    mt.cli.try_("map", "set", "mt/mt_task", "--from", "-", stdin=saved)
    assert mt.called(1) == 41
    assert "no process" in mt.refused(4, "get", "mt_task", "pid:4194303")
    assert "pid:NUMBER" in mt.refused(2, "get", "mt_task", "init")
    assert f"'{own}'" not in mt("delete", "mt_task", "--all")
    assert "no key" in mt.refused(4, "delete", "mt_task", own)

    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as made:
        key = f"socket:{os.getpid()}/{made.fileno()}"
        mt("set", "mt_sk", key, "7")
        assert mt.rows("mt_sk")[0]["key"] == key
        with mt.attached("on_state", "tp_btf"):
            made.connect(server.getsockname())
        assert mt.seen >= 7
        assert int(mt("get", "mt_sk", key)) > 7
        mt.refused(4, "get", "mt_sk", f"socket:{os.getpid()}/{server.fileno()}")


def test_storage_of_cgroups_and_files(mt: Object, tmp_path: Path) -> None:
    with own_cgroup() as group:
        mt("set", "mt_cgrp", f"cgroup:{group}", "19")
        mt("set", "mt_cgrp", "cgroup:.", "18")
        there = {each["key"]: each["value"] for each in mt.rows("mt_cgrp")}
        assert there[f"cgroup:{group}"] == 19
        assert sorted(there.values()) == [18, 19]
        mt("delete", "mt_cgrp", "cgroup:.")
        # Ours is the root, or wherever the tests run.
        here = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
        mt("set", "mt_cgrp", f"cgroup:{here.lstrip('/') or '.'}", "17")
        assert mt.called(5) == 17
        mt("set", "mt_cgroups", "1", f"cgroup:{here.lstrip('/') or '.'}")
        assert mt.called(3) == 1
        mt("set", "mt_cgroups", "1", group)
        assert mt.called(3) == 2
        assert "does not tell" in mt.refused(7, "get", "mt_cgroups", "1")
        with mt.attached("local", f"cgroup_skb:{group},egress"):
            mt("set", "mt_local", f"cgroup:{group}", "23")
            assert mt("get", "mt_local", f"cgroup:{group}").strip() == "23"
            assert [each["value"] for each in mt.rows("mt_local")] == [23]
            script = "import socket; socket.socket(type=2).sendto(b'x', ('127.0.0.1', 9))"
            assert in_cgroup(group, script).returncode == 0
            assert mt.seen == 23
            (row,) = mt.rows("mt_local_cpu")
            assert row["value"] == 1
            assert row["key"]["attach_type"] == 1
        mt.refused(4, "get", "mt_local", "cgroup:/nowhere")
    file = tmp_path / "file"
    file.write_text("x")
    mt("set", "mt_inode", f"path:{file}", "3")
    assert mt("get", "mt_inode", f"path:{file}").strip() == "3"
    mt("delete", "mt_inode", f"path:{file}")
    assert "no key" in mt.refused(4, "get", "mt_inode", f"path:{file}")
    assert "ask for some" in mt.refused(7, "dump", "mt_inode")


def test_queues_stacks_and_filters(mt: Object) -> None:
    mt("push", "mt_queue", "id=1 port=80", "id=2 port=81 name=two")
    assert "port=80" in mt("peek", "mt_queue")
    mt.setting(6)
    mt.run("take")
    assert mt.seen == 80
    (left,) = mt.cli.json("map", "pop", "mt/mt_queue", "--count", "9")
    assert left["value"] == {"id": 2, "port": 81, "unused": 0, "name": "two"}
    assert "is empty" in mt.refused(4, "peek", "mt_queue")
    mt("delete", "mt_stack", "--all")
    mt("push", "mt_stack", "5", "6")
    mt.run("take")
    assert mt.seen == 6
    assert mt("pop", "mt_stack", "--count", "4").split() == ["6", "5"]
    assert "limited to 4" in mt.refused(8, "push", "mt_stack", *map(str, range(5)))
    mt("delete", "mt_stack", "--all")
    mt("push", "mt_bloom", "6", "1006")
    mt.run("take")
    assert mt.seen == 1
    assert mt("peek", "mt_bloom", "1006").strip() == "yes"
    assert mt("peek", "mt_bloom", "7").strip() == "no"
    mt("delete", "mt_stack", "--all")
    mt.setting(7)
    mt.run("take")
    assert mt.seen == 2
    assert "bloom filter" in mt.refused(2, "peek", "mt_bloom")
    assert "peek" in mt.refused(2, "dump", "mt_bloom")
    assert "pop" in mt.refused(2, "dump", "mt_queue")


def test_user_ring_is_drained_by_a_program(mt: Object, tmp_path: Path) -> None:
    mt("push", "mt_orders", "--type", "order", "id=1 port=80", "id=2 name=two", "id=3")
    assert mt.called(2) == 123
    assert mt.called(2) == 0
    (tmp_path / "orders").write_text('{"id": 4}\n{"id": 5, "port": 1}\n')
    mt("push", "mt_orders", "--type", "struct order", "--from", "orders")
    assert mt.called(2) == 45
    full = mt.refused(8, "push", "mt_orders", "--type", "order", *(["id=1"] * 300))
    assert "170 were done before" in full
    assert "until a program drains it" in full
    assert mt.called(2) > 0
    # Records lie across the end of the ring now.
    for number in range(1, 6):
        mt("push", "mt_orders", "--type", "order", *([f"id={number}"] * 3))
        assert mt.called(2) == number * 111
    mt("push", "mt_orders", f"hex:{(9).to_bytes(4, sys.byteorder).hex()}{'00' * 12}")
    assert mt.called(2) == 9
    assert "did you mean order" in mt.refused(2, "push", "mt_orders", "--type", "ordre", "id=1")
    assert "Maps.Submit" in mt.refused(7, "dump", "mt_orders")


def test_stacks_are_shown_by_symbols(mt: Object) -> None:
    mt.called(4)
    frames = [frame for each in mt.rows("mt_stacks") for frame in each["value"]]
    assert any("sys_enter" in frame or "syscall" in frame for frame in frames), frames
    own = ("--pid", str(os.getpid()))
    named = [frame for each in mt.rows("mt_stacks", *own) for frame in each["value"]]
    assert any("getppid" in frame for frame in named), named
    files = [each["value"] for each in mt.rows("mt_files", *own)]
    assert any("getppid" in frame for frames in files for frame in frames), files
    number = str(mt.rows("mt_stacks")[0]["key"])
    assert mt("get", "mt_stacks", number).splitlines()[0] in frames
    assert isinstance(mt.rows("mt_stacks", "--plain")[0]["value"], str | list)


def test_counters_of_perf_events(mt: Object) -> None:
    for cpu in range(os.sysconf("SC_NPROCESSORS_CONF")):
        mt("set", "mt_counters", str(cpu), "cpu-clock")
    with mt.attached("on_count", "tp_btf"):
        getppid(1)
        first = mt.seen
        getppid(1)
        assert mt.seen > first > 0 or os.cpu_count() != 1
        assert mt.seen > 0
    # By id too: they are the daemon's, as long as it holds the map.
    number = mt.cli.json("map", "show", "mt/mt_counters")["id"]
    mt("delete", "mt_counters", *(str(cpu) for cpu in range(64)[: os.cpu_count()]))
    for cpu in range(os.sysconf("SC_NPROCESSORS_CONF")):
        mt.cli("map", "set", str(number), str(cpu), "task-clock,cpu=" + str(cpu))
    mt.setting(0)
    with mt.attached("on_count", "tp_btf"):
        getppid(2)
        assert mt.seen > 0
    assert "did you mean cpu-clock" in mt.refused(2, "set", "mt_counters", "0", "cpu-clok")


def test_changes_are_watched(mt: Object) -> None:
    mt("set", "mt_inner", "1", "10")
    quick = ("--interval", "10ms", "-o", "jsonl")
    with mt.cli.started("map", "watch", "mt/mt_inner", "--count", "4", *quick) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline())]
        for command in (("set", "2", "20"), ("set", "2", "21"), ("delete", "1")):
            mt(command[0], "mt_inner", *command[1:])
            lines.append(json.loads(process.stdout.readline()))
        assert process.wait(30) == 0
    assert [(each["change"], each["key"], each["value"]) for each in lines] == [
        ("set", 1, 10),
        ("set", 2, 20),
        ("set", 2, 21),
        ("delete", 1, None),
    ]
    with bpfctl.connect(f"unix:{mt.cli.socket}") as target:
        storage, own = target.map("mt/mt_task"), f"pid:{os.getpid()}"
        with storage.watch([own], interval=0.01) as watch:
            changes = iter(watch)
            storage.set(own, 5)
            assert next(changes).value == 5
            storage.delete(own)
            gone = next(changes)
            assert (gone.key, gone.value) == (own, None)
        outer = target.map("mt/mt_outer")
        outer.set(1, "mt_inner")
        with outer.watch(interval=0.01) as watch:
            assert next(iter(watch)).name == "mt/mt_inner"
    done = mt.cli.try_("map", "watch", "mt/mt_inner", "--duration", "50ms")
    assert done.returncode == 0, done.stderr


def test_line_of_a_wrong_value_is_named(mt: Object) -> None:
    lines = '{"key": 1, "value": 1}\n\n{"key": 2, "value": "x"}\n{"key": 3, "value": 3}\n'
    done = mt.cli.try_("map", "set", "mt/mt_inner", "--from", "-", stdin=lines)
    assert done.returncode == 2
    assert "line 3: value" in done.stderr
    assert mt.rows("mt_inner") == []
    lines = '{"key": 1, "value": "mt/no_such_one"}\n'
    done = mt.cli.try_("map", "set", "mt/mt_calls", "--from", "-", stdin=lines)
    assert done.returncode in (2, 4)


def test_memory_of_an_arena(daemon: RunningDaemon, tmp_path: Path) -> None:
    cli = cli_support.make(daemon, tmp_path)
    (tmp_path / "ar.o").write_bytes(clang.compiled("arena"))
    if (done := cli.try_("load", "ar.o")).returncode:
        pytest.skip(f"no arenas here: {done.stderr}")
    node, number = ("--type", "struct node"), ("map", "get", "ar/numbers")
    try:
        _call_twice(cli)
        place = cli(*number, "2").strip()
        assert int(place) % 4096 == 64
        cli("map", "set", "ar/at_memory", place, "number=21 name=a", *node)
        _call_twice(cli)
        assert cli("map", "get", "ar/at_memory", place, *node) == "number=21 twice=42 name=b\n"
        (row,) = cli.json("map", "get", "ar/at_memory", f"{place}+16")
        assert bytes.fromhex(row["value"][4:]) == struct.pack("=QQ", 21, 42)
        cli("map", "set", "ar/at_memory", "0x3ffe", "hex:cafe")
        assert cli("map", "get", "ar/at_memory", "16382+2").strip() == "hex:cafe"
        assert "16384 bytes" in cli.refused(2, "map", "get", "ar/at_memory", "16382+3")
        cli.refused(2, "map", "get", "ar/at_memory", "-1+3")
        cli.refused(2, "map", "get", "ar/at_memory", "64")
        assert "Maps.ReadArena" in cli.refused(7, "map", "dump", "ar/at_memory")
    finally:
        cli("unload", "ar")
    cli("map", "create", "own/memory", "--type", "arena", "--max-entries", "2")
    cli("map", "set", "own/memory", "5000", "hex:0102")
    assert cli("map", "get", "own/memory", "4999+3").strip() == "hex:000102"
    cli("unload", "own")
    extra = ("--type", "arena", "--max-entries", "2", "--flags", "segv_on_fault")
    cli("map", "create", "own/memory", *extra)
    assert "no program has allocated" in cli.refused(2, "map", "get", "own/memory", "0+8")
    cli("unload", "own")


def _call_twice(cli: Cli) -> None:
    (program,) = (each for each in cli.json("program", "list") if each["name"] == "twice")
    fd = syscall.fd_by_id(Cmd.PROG_GET_FD_BY_ID, program["id"])
    try:
        assert syscall.prog_test_run(fd, context_back=False)[0] == 0
    finally:
        os.close(fd)


MADE = {
    "hash": ("--key", "u64", "--value", "20", "--max-entries", "9"),
    "array": ("--value", "s32", "--max-entries", "9"),
    "percpu_hash": ("--value", "u64", "--max-entries", "9"),
    "percpu_array": ("--value", "u64", "--max-entries", "9"),
    "lru_hash": ("--value", "u64", "--max-entries", "9"),
    "lru_percpu_hash": ("--value", "u64", "--max-entries", "9"),
    "lpm_trie": ("--key", "8", "--value", "u64", "--max-entries", "9"),
    "prog_array": ("--max-entries", "2"),
    "perf_event_array": ("--max-entries", "2"),
    "cgroup_array": ("--max-entries", "2"),
    "stack_trace": ("--max-entries", "2"),
    "array_of_maps": ("--max-entries", "2", "--inner", "made-hash/hash"),
    "hash_of_maps": ("--max-entries", "2", "--inner", "made-hash/hash"),
    "sockmap": ("--max-entries", "2"),
    "sockhash": ("--max-entries", "2"),
    "devmap": ("--max-entries", "2"),
    "devmap_hash": ("--max-entries", "2"),
    "cpumap": ("--max-entries", "1"),
    "xskmap": ("--max-entries", "2"),
    "reuseport_sockarray": ("--max-entries", "2"),
    "queue": ("--value", "u64", "--max-entries", "2"),
    "stack": ("--value", "u64", "--max-entries", "2"),
    "bloom_filter": ("--value", "u64", "--max-entries", "2", "--extra", "3"),
    "ringbuf": ("--max-entries", "65536"),
    "user_ringbuf": ("--max-entries", "65536"),
    "sk_storage": ("--value", "u64"),
    "task_storage": ("--value", "u64"),
    "inode_storage": ("--value", "u64"),
    "cgrp_storage": ("--value", "u64"),
}


def test_every_type_is_made_shown_and_listed(daemon: RunningDaemon, tmp_path: Path) -> None:
    cli = cli_support.make(daemon, tmp_path)
    for kind, words in MADE.items():
        cli("map", "create", f"made-{kind}/{kind}", "--type", kind, *words)
    there = {each["member"]: each for each in cli.json("map", "list") if each.get("member")}
    for kind in MADE:
        assert there[kind]["type"] == kind
        shown = cli.json("map", "show", f"made-{kind}/{kind}")
        assert shown["key_type"]
        assert shown["value_type"]
    cli("map", "set", "made-hash/hash", "7", f"hex:{'01' * 20}")
    cli("map", "set", "made-lpm_trie/lpm_trie", "10.0.0.0/8", "3")
    assert cli("map", "get", "made-lpm_trie/lpm_trie", "10.1.2.3/32").strip() == "3"
    cli("map", "create", "other", "--like", "made-hash/hash")
    cli("map", "set", "made-array_of_maps/array_of_maps", "0", "other")
    row = cli.json("map", "dump", "made-array_of_maps/array_of_maps")[0]
    assert row["name"] == "other/other"
    for kind in (*(f"made-{kind}" for kind in MADE), "other"):
        cli("unload", kind)
    assert "did you mean lru_hash" in cli.refused(
        2, "map", "create", "x", "--type", "lruhash", "--max-entries", "1"
    )
    cli.refused(2, "map", "create", "x", "--type", "hash", "--max-entries", "1")
    cli.refused(2, "map", "create", "x", "--type", "array", "--value", "u63")
    cli.refused(2, "map", "create", "x")


def test_map_beyond_memory_is_refused(daemon: RunningDaemon, tmp_path: Path) -> None:
    cli = cli_support.make(daemon, tmp_path)
    (tmp_path / "mt.o").write_bytes(clang.compiled("map_types"))
    for words in (
        ("load", "mt.o", "--map-size", "mt_inner=4000000000"),
        (
            "map",
            "create",
            "x",
            "--type=percpu_hash",
            "--value=4096",
            "--max-entries=1000000000",
        ),
    ):
        said = cli.refused(8, *words)
        assert "GiB" in said
        assert "would fit" in said or "lower it" in said
        assert "--map-size" in said
    assert daemon.process is not None
    assert daemon.process.poll() is None
    assert cli.json("object", "list") == []


def test_struct_ops_are_shown(daemon: RunningDaemon, tmp_path: Path) -> None:
    cli = cli_support.make(daemon, tmp_path)
    (tmp_path / "so.o").write_bytes(clang.compiled("struct_ops"))
    if (done := cli.try_("load", "so.o")).returncode:
        pytest.skip(f"no struct_ops here: {done.stderr}")
    (row,) = cli.json("map", "dump", "so/counting")
    assert row["value"]["data"]["name"]
    assert "tcp_congestion_ops" in cli.json("map", "show", "so/counting")["value_type"]
    cli("unload", "so")
