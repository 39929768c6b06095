# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl.lab import qemu
from bpfctl.lab.recipe import find

FILES = qemu.Files(
    kernel=Path("/c/vmlinuz"),
    initrd=Path("/c/initrd"),
    pid=Path("/r/pid"),
    console=Path("/r/console.log"),
    monitor=Path("/r/monitor"),
    wire_local=Path("/r/wire.board"),
    wire_remote=Path("/r/wire.here"),
)


def test_whole_command() -> None:
    hardware = qemu.Hardware("arm64-6.12", 256, 1, 40001)
    wire = "local.path=/r/wire.board,remote.path=/r/wire.here"
    assert qemu.command(find("arm64-6.12").machine, hardware, FILES) == [
        "qemu-system-aarch64",
        *("-name", "arm64-6.12"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-daemonize"),
        *("-machine", "virt", "-cpu", "cortex-a57"),
        *("-accel", "tcg,thread=multi,tb-size=64"),
        *("-m", "256", "-smp", "1"),
        *("-kernel", "/c/vmlinuz", "-initrd", "/c/initrd"),
        *("-append", "console=ttyAMA0 quiet panic=-1 init_on_alloc=0 net.ifnames=0"),
        *("-pidfile", "/r/pid"),
        *("-chardev", "file,id=console,path=/r/console.log,append=on"),
        *("-serial", "chardev:console"),
        *("-qmp", "unix:/r/monitor,server=on,wait=off"),
        "-netdev",
        "user,id=eth0,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:40001-10.0.2.15:22",
        *("-device", "virtio-net-pci,netdev=eth0,mac=52:54:00:0e:70:d9,romfile="),
        "-netdev",
        f"dgram,id=eth1,local.type=unix,remote.type=unix,{wire}",
        *("-device", "virtio-net-pci,netdev=eth1,mac=52:54:01:0e:70:d9,romfile="),
    ]


def words(name: str, hardware: qemu.Hardware) -> str:
    return " ".join(qemu.command(find(name).machine, hardware, FILES))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("amd64-6.1", ["qemu-system-x86_64", "-machine q35,", "Haswell-noTSX", "ttyS0"]),
        ("armhf-6.1", ["qemu-system-arm", "virt,highmem=off", "cortex-a15", "ttyAMA0"]),
        ("riscv64-6.12", ["qemu-system-riscv64", "-cpu rv64", "ttyS0"]),
    ],
)
def test_other_machines(name: str, parts: list[str]) -> None:
    said = words(name, qemu.Hardware(name, 192, 2, 1))
    assert all(part in said for part in [*parts, "-m 192 -smp 2"])


def test_adb_clock_and_words_for_the_kernel() -> None:
    hardware = qemu.Hardware(
        "b", 96, 1, 1, adb_port=2, rtc="1970-01-01T00:00:00", cmdline="loglevel=7"
    )
    said = words("arm64-6.1", hardware)
    assert (
        ",hostfwd=tcp:127.0.0.1:1-10.0.2.15:22,hostfwd=tcp:127.0.0.1:2-10.0.2.15:5555" in said
    )
    assert said.endswith("-rtc base=1970-01-01T00:00:00")
    assert "net.ifnames=0 loglevel=7 " in said


@pytest.mark.parametrize("name", ["arm64-6.1", "amd64-7.2", "armhf-6.12", "riscv64-6.12"])
def test_no_board_has_a_way_out(name: str) -> None:
    said = words(name, qemu.Hardware(name, 96, 1, 1, adb_port=2))
    networks = [word for word in said.split() if word.startswith(("user,", "dgram,", "tap,"))]
    assert [network.partition(",")[0] for network in networks] == ["user", "dgram"]
    assert "restrict=on" in networks[0]
    assert all("127.0.0.1" in each for each in networks[0].split("hostfwd=")[1:])
    assert "accel kvm" not in said


def test_commas_in_paths_are_doubled() -> None:
    files = qemu.Files(*(Path("/a,b/x") for _ in range(7)))
    said = qemu.command(find("arm64-6.1").machine, qemu.Hardware("b", 96, 1, 1), files)
    assert "unix:/a,,b/x,server=on,wait=off" in said
    assert "/a,b/x" in said


def test_addresses_differ_by_board_and_interface() -> None:
    addresses = {qemu.mac(name, card) for name in ("a", "b", "c") for card in (0, 1)}
    assert len(addresses) == 6
    assert all(int(address[:2], 16) & 3 == 2 for address in addresses)
