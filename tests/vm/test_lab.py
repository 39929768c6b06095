# SPDX-License-Identifier: Apache-2.0
"""The virtual board itself: what it is, its cards, its look, and how it comes and goes."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from bpfctl import config, lab
from bpfctl.bootstrap.shell import open_shell
from bpfctl.errors import NotFound, TargetUnreachable
from bpfctl.lab import state

MEMORY = 192

MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "riscv64": "riscv64"}

HERE = bytes.fromhex("5254020000aa")
"""Hardware address of the workstation on the wire."""


def up(recipe: str, suffix: str, **wishes: str | bool) -> lab.Board:
    name = f"lab-{suffix}-{os.getpid()}"
    asked = lab.Wishes(name, memory=MEMORY, **wishes)  # type: ignore[arg-type]
    return lab.up(recipe, asked, daemon=False)


@pytest.fixture(scope="module")
def board(recipe: str, stage: Path) -> Iterator[lab.Board]:
    """A board without a daemon."""
    with up(recipe, "a") as board:
        yield board


def arp(sender: bytes, address: str, wanted: str) -> bytes:
    """An Ethernet frame that asks who has an address (RFC 826)."""
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + socket.inet_aton(address)
    request += bytes(6) + socket.inet_aton(wanted)
    return (b"\xff" * 6 + sender + b"\x08\x06" + request).ljust(60, b"\0")


def test_is_what_its_recipe_says(board: lab.Board, recipe: str) -> None:
    said = board.run("uname -rm; cat /proc/sys/kernel/hostname").text.splitlines()
    assert said == [f"{board.release} {MACHINES[board.arch]}", board.name]
    assert board.arch == recipe.partition("-")[0]
    assert lab.recipes()[recipe].fits(board.release)


def test_has_no_libc_and_no_python(board: lab.Board) -> None:
    assert board.run("ls -d /usr /lib/*.so* /lib/*-linux-*").text == ""
    assert board.run("python3 -V").status == 127


def test_file_systems_for_bpf_are_there(board: lab.Board) -> None:
    mounts = board.run("cut -d ' ' -f 2,3 /proc/mounts").text.splitlines()
    assert {
        "/sys/fs/bpf bpf",
        "/sys/kernel/tracing tracefs",
        "/sys/kernel/debug debugfs",
        "/sys/fs/cgroup cgroup2",
        "/data tmpfs",
    } <= set(mounts)
    done = board.run("zcat /lib/modules/$(uname -r)/config.gz | grep -c ^CONFIG_BPF_SYSCALL=y")
    assert done.text == "1\n"


@pytest.mark.parametrize("name", ["tls", "ip_vs", "nf_tables", "act_bpf", "sch_netem"])
def test_modules_load(board: lab.Board, name: str) -> None:
    done = board.run(f"modprobe {name}")
    assert (done.status, done.stderr) == (0, b"")
    assert f"{name} " in board.run("lsmod").text


def test_the_kernel_loads_what_it_needs(board: lab.Board) -> None:
    """Through /proc/sys/kernel/modprobe and modules.alias."""
    done = board.run("ip link add v0 type veth && ip link add d0 type dummy")
    assert (done.status, done.stderr) == (0, b"")
    assert {"veth", "dummy"} <= {
        line.split()[0] for line in board.run("lsmod").text.splitlines()
    }
    board.run("ip link del v0; ip link del d0")


def test_frames_go_both_ways(board: lab.Board) -> None:
    board.wire.send(arp(HERE, "10.9.0.1", "10.9.0.2"))
    answers = [frame for frame in board.wire.frames(2) if frame[:6] == HERE]
    assert answers
    # Its answer: operation 2, with the address of eth1.
    assert answers[0][12:22] == bytes.fromhex("08060001080006040002")
    mac = bytes.fromhex(
        board.run("cat /sys/class/net/eth1/address").text.strip().replace(":", "")
    )
    assert answers[0][22:28] == mac
    assert answers[0][28:32] == socket.inet_aton("10.9.0.2")


def test_reaches_nothing_outside(board: lab.Board) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(0.5)
        for host in ("10.0.2.2", "127.0.0.1", *socket.gethostbyname_ex("localhost")[2]):
            assert board.run(f"nc -w 2 {host} {port} </dev/null").status != 0
        with pytest.raises(TimeoutError):
            server.accept()
    assert board.run("nslookup example.org 10.0.2.3", timeout=30).status != 0
    assert board.run("ping -c 1 -W 1 192.0.2.1").status != 0


def test_a_reset_forgets_everything(board: lab.Board) -> None:
    first = board.run("cat /proc/sys/kernel/random/boot_id; echo x >/data/x").text
    board.reset()
    assert board.run("cat /proc/sys/kernel/random/boot_id").text != first
    assert board.run("cat /data/x").status == 1


def test_an_unplugged_board_does_not_answer(board: lab.Board) -> None:
    board.forget_shell()
    board.set_link("eth0", False)
    with pytest.raises(TargetUnreachable):
        open_shell(board.name, board.ssh, timeout=2)
    board.set_link("eth0", True)
    assert board.run("echo here").text == "here\n"
    assert "restrict=on" in board.monitor("info network")


def test_commands_of_the_command_line(board: lab.Board) -> None:
    def bpfctl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bpfctl", "lab", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = bpfctl("ssh", board.name, "cat >/dev/null; uname -m; exit 7")
    assert (done.returncode, done.stdout) == (7, f"{MACHINES[board.arch]}\n")
    done = bpfctl("run", board.name, "--", "sh", "-c", "echo $BPFCTL_TARGET; exit 3")
    assert (done.returncode, done.stdout) == (3, f"{board.name}\n")
    done = bpfctl("run", "--in-guest", board.name, "--", "uname", "-r")
    assert (done.returncode, done.stdout) == (0, f"{board.release}\n")
    assert board.alive
    assert board.name in bpfctl("list").stdout


def test_two_boards_on_one_wire(board: lab.Board, recipe: str) -> None:
    """The second has a wrong clock and a password, and dies in the end."""
    board.wire.close()
    del board.__dict__["wire"]
    other = up(recipe, "b", join=board.name, rtc="1970-01-01T00:00:00", password="let me in")
    with other:
        done = other.run("ping -c 2 -W 5 10.9.0.2")
        assert " 0% packet loss" in done.text
        assert other.run("date +%Y").text == "1970\n"
        with pytest.raises(lab.LabError, match=f"joined to {board.name}"):
            other.wire.send(b"")
        with pytest.raises(lab.LabError, match=f"the wire of {board.name} is in use"):
            up(recipe, "c", join=board.name)
        log_in(other, "let me in")
        with pytest.raises(paramiko.AuthenticationException):
            log_in(board, "let me in")
        os.kill(other.running.process.pid, signal.SIGKILL)
        assert other.running.process.wait(10)
        with pytest.raises(NotFound):
            lab.board(other.name)
    assert other.name not in config.load_targets()
    assert not state.place(other.name).folder.exists()
    # The workstation has that end of the wire again.
    board.wire.send(arp(HERE, "10.9.0.1", "10.9.0.2"))
    assert any(frame[:6] == HERE for frame in board.wire.frames(2))


def log_in(board: lab.Board, password: str) -> None:
    with paramiko.SSHClient() as client:
        client.load_system_host_keys(board.ssh.known_hosts)
        client.connect(
            "127.0.0.1",
            board.ssh_port,
            "root",
            password,
            allow_agent=False,
            look_for_keys=False,
        )


def test_the_look_of_android(recipe: str, stage: Path) -> None:
    with up(recipe, "d", android=True) as phone:
        assert phone.run("ls -d /tmp /usr /sbin /var").text == ""
        assert phone.run("touch /x").status != 0
        assert phone.run("touch /data/local/tmp/x").status == 0
        assert phone.run("echo $KSH_VERSION").text.startswith("@(#)MIRBSD KSH")
        assert phone.run("wget --help").status == 127
        assert config.load_targets()[phone.name] == config.AdbTarget(
            f"127.0.0.1:{phone.adb_port}"
        )
        shell = open_shell(phone.name, phone.target)
        try:
            assert shell.run("id -u; uname -r").text.split() == ["0", phone.release]
        finally:
            shell.close()
    assert phone.name not in config.load_targets()
